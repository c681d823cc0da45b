"""Long work on archives and trees in a child process, so that its Python does not hold up the daemon's threads.

A task that is small is done in place: a process takes some thirty milliseconds to start.
"""

import base64
import io
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO

from orlop.archive.child_process import run_task, say, serve
from orlop.archive.compression import Progress
from orlop.archive.header import render_comment
from orlop.archive.layer_tar import LayerTar, apply_layer
from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.recipe import rebuild
from orlop.archive.source import ArchiveSource
from orlop.archive.stalling import Stall
from orlop.archive.stream import TarStream
from orlop.archive.unpack import Options, Whiteouts, unpack
from orlop.errors import HostFailure
from orlop.model.value import dataclass
from orlop.store.files import remove_tree

PATIENCE_SECONDS = 30.0  # with storage of somebody else's
_SMALL_BYTES = 2 << 20
_SMALL_RECIPE_BYTES = 32 << 10  # of some 1000 members
_FEW_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Arrived:
    """What an archive brought."""

    members: int
    size_bytes: int  # sum of its files' sizes
    lost_xattrs: tuple[str, ...] = ()  # names that the file system cannot keep


def apply_layer_aside(
    source: ArchiveSource,
    target: Path,
    recipe: Path,
    scratch: Path,
    whiteouts: Whiteouts,
    progress: Progress | None = None,
) -> LayerTar:
    """`layer_tar.apply_layer`, in a process of its own unless the archive is small."""
    if _length(source) <= _SMALL_BYTES:
        return apply_layer(source, target, recipe, scratch, whiteouts, progress)
    task = {
        "task": "apply",
        "source": [str(source.path), source.offset, source.length],
        "target": str(target),
        "recipe": str(recipe),
        "scratch": str(scratch),
        "whiteouts": whiteouts.value,
    }
    found = run_task(__name__, task, None, progress)
    return LayerTar(**{**found, **{key: tuple(found[key]) for key in ("lost_xattrs", "implied", "whiteouts")}})


def rebuild_aside(recipe: Path, root: Path, out: BinaryIO) -> None:
    """`recipe.rebuild`, in a process of its own unless the members are few: bytes alone are no work for Python."""
    if recipe.exists() and recipe.stat().st_size <= _SMALL_RECIPE_BYTES:
        rebuild(recipe, root, out)
        return
    run_task(__name__, {"task": "rebuild", "recipe": str(recipe), "root": str(root)}, out, None)


def pack_aside(root: Path, out: BinaryIO, options: PackOptions) -> None:
    """`pack.pack_tree` of a directory's content, in a process of its own unless there is little in it."""
    if _is_small(root):
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            pack_tree(fd, out, options=options)
        finally:
            os.close(fd)
        return
    choices = {**asdict(options), "only": sorted(options.only) if options.only is not None else None}
    run_task(__name__, {"task": "pack", "root": str(root), "options": choices}, out, None)


def export_aside(root_fd: int, out_fd: int, comment: str) -> None:
    """A directory as it is, itself as the first member, into a pipe or file; a global header with the comment goes
    ahead. Whoever reads it gets it from the process itself: closing that end ends the work."""
    task = {"task": "export", "root": root_fd, "to": out_fd, "comment": comment}
    stall = Stall(PATIENCE_SECONDS, writes_to=out_fd)
    _raise_failure(run_task(__name__, task, None, None, (root_fd, out_fd), stall))


def unpack_aside(source_fd: int, start: bytes, target_fd: int, options: Options) -> Arrived:
    """An archive that arrives through a pipe (`start` was read of it before) into a directory, in a process of its
    own."""
    task = {
        "task": "unpack",
        "source": source_fd,
        "start": base64.b85encode(start).decode(),
        "target": target_fd,
        "options": asdict(options),
    }
    stall = Stall(PATIENCE_SECONDS, reads_from=source_fd)
    found = run_task(__name__, task, None, None, (source_fd, target_fd), stall)
    _raise_failure(found)
    return Arrived(found["members"], found["size_bytes"], tuple(found["lost_xattrs"]))


def _raise_failure(found: dict[str, Any]) -> None:
    """An OSError comes as such: a full disk and a reader who has gone are told apart from other trouble."""
    if "failed" in found:
        raise OSError(*found["failed"])


def remove_aside(path: Path) -> None:
    """`files.remove_tree`, in a process of its own and after everybody else, unless there is little in it."""
    if _is_small(path):
        remove_tree(path)
    else:
        run_task(__name__, {"task": "remove", "path": str(path)}, None, None)


def _is_small(root: Path) -> bool:
    """Counts by path, which may mislead where somebody is renaming; then only the wrong way of two is taken."""
    left = _FEW_ENTRIES
    for _, folders, files in os.walk(root):
        left -= len(folders) + len(files)
        if left < 0:
            return False
    return True


def _length(source: ArchiveSource) -> int:
    return source.length if source.length >= 0 else source.path.stat().st_size - source.offset


def main(parent: int) -> None:
    """The child's side."""
    serve(parent, _TASKS)


def _apply(
    source: tuple[str, int, int], target: str, recipe: str, scratch: str, whiteouts: str, out: int
) -> dict[str, object]:
    os.close(out)
    where = ArchiveSource(Path(source[0]), source[1], source[2])
    applied = apply_layer(
        where, Path(target), Path(recipe), Path(scratch), Whiteouts(whiteouts), lambda done: say({"progress": done})
    )
    return asdict(applied)


def _rebuild(recipe: str, root: str, out: int) -> dict[str, object]:
    with open(out, "wb", buffering=0) as pipe:
        rebuild(Path(recipe), Path(root), _Whole(pipe))  # type: ignore[arg-type]
    return {}


def _pack(root: str, options: dict[str, Any], out: int) -> dict[str, object]:
    only = options.pop("only")
    options["deleted"] = tuple(options["deleted"])
    chosen = PackOptions(only=frozenset(only) if only is not None else None, **options)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with open(out, "wb", buffering=0) as pipe:
        pack_tree(fd, _Whole(pipe), options=chosen)
    return {}


def _export(root: int, to: int, comment: str, out: int) -> dict[str, object]:
    os.close(out)
    options = PackOptions(exact_times=True, cross_mounts=False, every_xattr=True)
    try:
        with WholeFile(to, "wb") as file:
            file.write(render_comment(comment))
            pack_tree(root, file, ".", options)
    except OSError as error:
        return {"failed": [error.errno, error.strerror, error.filename]}
    return {}


def _unpack(source: int, start: str, target: int, options: dict[str, Any], out: int) -> dict[str, object]:
    os.close(out)
    options["base"] = tuple(options["base"])
    options["owner"] = tuple(options["owner"]) if options["owner"] else None
    options["whiteouts"] = Whiteouts(options["whiteouts"])
    try:
        with TarStream(source, base64.b85decode(start)) as archive:
            unpacked = unpack(archive, target, Options(**options))
    except HostFailure as error:
        if isinstance(error.__cause__, OSError):
            return {"failed": [error.__cause__.errno, error.__cause__.strerror, error.subject]}
        raise
    except OSError as error:
        return {"failed": [error.errno, error.strerror, error.filename]}
    return asdict(Arrived(archive.count, unpacked.size_bytes, tuple(sorted(unpacked.lost_xattrs))))


class WholeFile(io.FileIO):
    """A pipe or file that takes all of what it is given, or raises."""

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)


def _remove(path: str, out: int) -> dict[str, object]:
    os.close(out)
    os.nice(10)  # nobody waits for it
    remove_tree(Path(path))
    return {}


class _Whole:
    """A pipe that takes all of what it is given, or raises."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._fd = pipe.fileno()

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        return len(data)


_TASKS: dict[str, Callable[..., dict[str, object]]] = {
    "apply": _apply,
    "rebuild": _rebuild,
    "pack": _pack,
    "remove": _remove,
    "export": _export,
    "unpack": _unpack,
}
