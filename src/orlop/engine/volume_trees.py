"""Walking a volume because somebody waits for it: `orlop volume du`.

The walk runs in a process of its own: a large one holds up nothing in the daemon, and one whose storage stops answering
is left behind.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from orlop.archive.child_process import run_task, say, serve
from orlop.archive.stalling import Stall
from orlop.engine.tree_usage import TreeUsage, TreeWalk
from orlop.engine.volume_access import VolumeAccess
from orlop.errors import HostFailure, Malformed, NotFound, Unavailable
from orlop.kernel.openat2 import open_beneath

SILENCE_SECONDS = 15.0
_TELL_SECONDS = 0.5
_NICENESS = 5
_BLOCK_BYTES = 512

Told = Callable[[TreeUsage], bool]  # given what was counted so far; says whether to go on


class _NotWantedAnyMore(Exception):
    pass


class VolumeTrees:
    def __init__(self, access: VolumeAccess, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._access = access
        self._silence_seconds = silence_seconds

    def measure(
        self, name: str, path: str, depth: int, told: Told = lambda so_far: True
    ) -> tuple[list[TreeUsage], int]:
        """The path's whole first, then what is below it down to `depth` levels, the biggest first; and how many rows
        were too many. Raises NoSuchVolume, NotFound for a path that is not there, Malformed for one that leads out,
        Unavailable when the storage does not answer."""
        so_far = TreeUsage("")

        def progress(counted: dict[str, Any]) -> None:
            nonlocal so_far
            so_far = TreeUsage(**counted)
            if not told(so_far):
                raise _NotWantedAnyMore

        with self._access.open(name, only_looks=True) as opened:
            task = {"task": "walk", "top": opened.fd, "name": name, "path": path.strip("/"), "depth": depth}
            try:
                found = run_task(__name__, task, None, progress, (opened.fd,), Stall(self._silence_seconds))
            except _NotWantedAnyMore:
                return [so_far], 0
            except TimeoutError as error:
                why = f"its storage has not answered for {self._silence_seconds:g} s"
                hint = f"Look at what is mounted there: {', '.join(opened.foreign) or opened.volume.mountpoint}"
                raise Unavailable(f"measuring volume {name}", why, hint) from error
        return [TreeUsage(**row) for row in found["rows"]], found["left_out"]


# The child's side


def main(parent: int) -> None:
    serve(parent, {"walk": _walk})


def _walk(top: int, name: str, path: str, depth: int, out: int) -> dict[str, object]:
    os.close(out)
    os.nice(_NICENESS)
    fd = _open(top, name, path)
    found = os.fstat(fd)
    if not stat.S_ISDIR(found.st_mode):
        row = TreeUsage("", False, found.st_size, found.st_blocks * _BLOCK_BYTES, 0, found.st_mtime_ns)
        return {"rows": [asdict(row)], "left_out": 0}
    tell_at = time.monotonic() + _TELL_SECONDS

    def stop() -> bool:
        nonlocal tell_at
        if time.monotonic() > tell_at:
            say({"progress": asdict(walk.so_far)})
            tell_at = time.monotonic() + _TELL_SECONDS
        return False

    walk = TreeWalk(fd, depth, stop)
    try:
        rows = walk.run() or [walk.so_far]
    except OSError as error:
        raise HostFailure(f"measuring volume {name}", error.strerror or str(error)) from error
    return {"rows": [asdict(row) for row in rows], "left_out": walk.left_out}


def _open(top_fd: int, name: str, path: str) -> int:
    subject = f"path {path} of volume {name}"
    try:
        try:
            return open_beneath(top_fd, path, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            return open_beneath(top_fd, path, os.O_PATH)
    except ValueError as error:
        raise Malformed(subject, str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(subject, "there is no such file or directory") from error
        if error.errno in (errno.EXDEV, errno.ELOOP):
            raise Malformed(subject, "it leads out of the volume") from error
        raise HostFailure(subject, error.strerror or str(error)) from error
