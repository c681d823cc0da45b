"""Long work on archives and trees in a child process, so that its Python does not hold up the daemon's threads.

One process a task, spawned (never forked from a threaded daemon), with an interpreter that starts without site and
environment. The task goes down as a line of JSON; progress, then the result or the error come up as lines; bytes that
a task writes (a rebuilt tar) come up through a pipe of their own. An error arrives as the class it was raised as. The
child dies with the daemon: the kernel sends it SIGKILL.

A task that is small is done in place: a process takes some thirty milliseconds to start.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO

from orlop import errors
from orlop.archive.compression import Progress
from orlop.archive.layer_tar import LayerTar, apply_layer
from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.recipe import rebuild
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Whiteouts
from orlop.errors import HostFailure, OrlopError
from orlop.kernel.process import die_with_parent
from orlop.store.files import remove_tree

_START = "import sys; sys.path[:] = sys.argv[2:]; from orlop.archive.worker import main; main(int(sys.argv[1]))"
_SMALL_BYTES = 2 << 20
_SMALL_RECIPE_BYTES = 32 << 10  # of some 1000 members
_FEW_ENTRIES = 500
_CHUNK_BYTES = 1 << 20


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
    found = _run(task, None, progress)
    return LayerTar(**{**found, **{key: tuple(found[key]) for key in ("lost_xattrs", "implied", "whiteouts")}})


def rebuild_aside(recipe: Path, root: Path, out: BinaryIO) -> None:
    """`recipe.rebuild`, in a process of its own unless the members are few: bytes alone are no work for Python."""
    if recipe.exists() and recipe.stat().st_size <= _SMALL_RECIPE_BYTES:
        rebuild(recipe, root, out)
        return
    _run({"task": "rebuild", "recipe": str(recipe), "root": str(root)}, out, None)


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
    _run({"task": "pack", "root": str(root), "options": choices}, out, None)


def remove_aside(path: Path) -> None:
    """`files.remove_tree`, in a process of its own and after everybody else, unless there is little in it."""
    if _is_small(path):
        remove_tree(path)
    else:
        _run({"task": "remove", "path": str(path)}, None, None)


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


def _run(task: Mapping[str, object], out: BinaryIO | None, progress: Progress | None) -> dict[str, Any]:
    read_end, write_end = os.pipe()
    with suppress(OSError):  # a convenience, and limited for those who are not root
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, str(os.getpid()), *filter(None, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[write_end],
            start_new_session=True,  # a Ctrl-C in the daemon's terminal is the daemon's business
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    try:
        assert process.stdin and process.stdout
        with suppress(BrokenPipeError):  # it has died: `_result` says so
            process.stdin.write(json.dumps({**task, "out": write_end}).encode() + b"\n")
            process.stdin.flush()
        if out is not None:
            while data := os.read(read_end, _CHUNK_BYTES):
                out.write(data)
        return _result(process, process.stdout, progress)
    finally:
        # After an error of ours (the client has gone, the disk is full) the child's work is of no use.
        process.kill()
        process.communicate()
        os.close(read_end)


def _result(process: "subprocess.Popen[bytes]", answers: IO[bytes], progress: Progress | None) -> dict[str, Any]:
    for line in answers:
        answer: dict[str, Any] = json.loads(line)
        if "progress" in answer:
            if progress:
                progress(answer["progress"])
        elif "error" in answer:
            raise _as_raised(answer["error"])
        else:
            process.wait()
            return dict(answer["result"])
    raise HostFailure("archive worker", f"it ended with status {process.wait()} and without an answer")


def _as_raised(facts: list[str]) -> OrlopError:
    name, *words = facts
    kind = getattr(errors, name, HostFailure)
    return kind(*words) if kind.__init__ is OrlopError.__init__ else HostFailure(*words)


def main(parent: int) -> None:
    """The child's side."""
    die_with_parent(parent)
    os.umask(0)
    task = json.loads(sys.stdin.readline())
    try:
        answer: dict[str, object] = {"result": _TASKS[task.pop("task")](**task)}
    except OrlopError as error:
        answer = {"error": [type(error).__name__, error.subject, error.why, error.hint]}
    except OSError as error:
        answer = {"error": ["HostFailure", "archive worker", str(error), ""]}
    _say(answer)


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _apply(
    source: tuple[str, int, int], target: str, recipe: str, scratch: str, whiteouts: str, out: int
) -> dict[str, object]:
    os.close(out)
    where = ArchiveSource(Path(source[0]), source[1], source[2])
    applied = apply_layer(
        where, Path(target), Path(recipe), Path(scratch), Whiteouts(whiteouts), lambda done: _say({"progress": done})
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
