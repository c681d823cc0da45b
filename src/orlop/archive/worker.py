"""Long work on archives and trees in a child process, so that its Python does not hold up the daemon's threads.

A task that is small is done in place: a process takes some thirty milliseconds to start.
"""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO

from orlop.archive.child_process import run_task, say, serve
from orlop.archive.compression import Progress
from orlop.archive.layer_tar import LayerTar, apply_layer
from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.recipe import rebuild
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Whiteouts
from orlop.store.files import remove_tree

_SMALL_BYTES = 2 << 20
_SMALL_RECIPE_BYTES = 32 << 10  # of some 1000 members
_FEW_ENTRIES = 500


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
}
