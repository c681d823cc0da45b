"""Files in and out of a view that shows somebody else's storage, in a process that can be left behind.

A look at a server that does not answer sleeps in the kernel, and a thread of the daemon that sleeps there keeps even
the daemon's end waiting. So such a view is handed down by its descriptors, and nothing in it is looked up here.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from orlop.archive.child_process import run_task, say, serve
from orlop.archive.stalling import Stall
from orlop.archive.worker import WholeFile
from orlop.engine.archive_work import PathStat, Unpacking, get_from, put_into, stat_in
from orlop.engine.views import View
from orlop.errors import Unavailable
from orlop.model.mount import Mount, MountKind

PATIENCE_SECONDS = 15.0


class ArchiveChild:
    """The daemon's side. `where` says whose path it is."""

    def __init__(self, view: View, path: str, where: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._view = view
        self._path = path
        self._where = where
        self._patience_seconds = patience_seconds

    def stat(self) -> PathStat:
        return PathStat(**self._run("stat", {}))

    def get(self, out: BinaryIO, tell: Callable[[PathStat], None]) -> None:
        self._run("get", {"to": out.fileno()}, lambda facts: tell(PathStat(**facts)), out.fileno())

    def put(self, upload: Unpacking) -> None:
        facts = {
            "archive": str(upload.archive),
            "keep_kinds": upload.keep_kinds,
            "user": upload.user,
            "mounts": [(mount.kind, mount.destination, mount.read_only) for mount in upload.mounts],
            "readonly_rootfs": upload.readonly_rootfs,
            "shows_memory": upload.shows_memory,
        }
        self._run("put", {"upload": facts})

    def _run(
        self, task: str, more: Mapping[str, Any], progress: Callable[[Any], None] | None = None, out_fd: int = -1
    ) -> dict[str, Any]:
        view = self._view
        handed = {
            "root_fd": view.root_fd,
            "passed_over": view.passed_over,
            "aside": dict(view.aside),
            "path": self._path,
            "where": self._where,
        }
        fds = [view.root_fd, *view.aside.values(), *([out_fd] if out_fd >= 0 else [])]
        stall = Stall(self._patience_seconds, writes_to=out_fd)
        try:
            return run_task(__name__, {"task": task, **handed, **more}, None, progress, fds, stall)
        except TimeoutError as error:
            why = f"its storage gave no answer for {self._patience_seconds:g} s (mounted: {', '.join(view.foreign)})"
            hint = "Bring its server back, or unmount it; everything else goes on"
            raise Unavailable(f"{self._path} in {self._where}", why, hint) from error


def main(parent: int) -> None:
    """The child's side."""
    serve(parent, {"stat": _stat, "get": _get, "put": _put})


def _view(root_fd: int, passed_over: list[int], aside: Mapping[str, int]) -> View:
    return View(root_fd, tuple(passed_over), aside)


def _stat(
    root_fd: int, passed_over: list[int], aside: dict[str, int], path: str, where: str, out: int
) -> dict[str, object]:
    return asdict(stat_in(_view(root_fd, passed_over, aside), path, where))


def _get(
    root_fd: int, passed_over: list[int], aside: dict[str, int], path: str, where: str, to: int, out: int
) -> dict[str, object]:
    def tell(found: PathStat) -> None:
        say({"progress": asdict(found)})

    with WholeFile(to, "wb") as file:
        get_from(_view(root_fd, passed_over, aside), path, where, file, tell)
    return {}


def _put(
    root_fd: int,
    passed_over: list[int],
    aside: dict[str, int],
    path: str,
    where: str,
    upload: dict[str, Any],
    out: int,
) -> dict[str, object]:
    mounts = [Mount(MountKind(kind), place, "", read_only=fixed) for kind, place, fixed in upload.pop("mounts")]
    wish = Unpacking(archive=Path(upload.pop("archive")), mounts=mounts, **upload)
    put_into(_view(root_fd, passed_over, aside), path, where, wish)
    return {}
