"""What a writable layer changed, seen from its directory: the differences `docker diff` shows.

The directory may be the upper one of an overlay (what is not in it is unchanged, unless the directory is opaque) or a
whole copy of the tree (what is not in it is gone). A container may be writing to it: it is walked by descriptors, one
name at a time. As with Docker a directory counts as modified when something in it changed.
"""

import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orlop.archive.tree import is_whiteout, joined
from orlop.drivers.layers.stack import Found, find, is_opaque, list_names
from orlop.errors import HostFailure
from orlop.model.container import LayerChange
from orlop.model.value import dataclass

MODIFIED, ADDED, DELETED = 0, 1, 2

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 1000  # directories within each other: one descriptor each
_CAPABILITY = "security.capability"


def find_changes(top: Path, below: Sequence[Path], whole: bool = False) -> list[LayerChange]:
    """Sorted by path. `below` are the layers underneath, top first; `whole` says that `top` is a copy of them."""
    kinds: dict[str, int] = {}
    _compare(top, below, whole, kinds)
    for path in list(kinds):
        parent = path.rpartition("/")[0]
        while parent and parent not in kinds:
            kinds[parent] = MODIFIED
            parent = parent.rpartition("/")[0]
    return [LayerChange("/" + path, kinds[path]) for path in sorted(kinds)]


def measure(top: Path) -> int:
    """Bytes of the regular files, one with several names counted once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    with _Descent(top) as descent:
        while descent.levels:
            level = descent.levels[-1]
            for _, fd, details in level.entries:
                if stat.S_ISDIR(details.st_mode):
                    if len(descent.levels) < _DEEPEST:
                        descent.enter(fd, "", (), False)
                        break
                elif stat.S_ISREG(details.st_mode) and (details.st_dev, details.st_ino) not in seen:
                    if details.st_nlink > 1:
                        seen.add((details.st_dev, details.st_ino))
                    total += details.st_size
            else:
                descent.leave()
    return total


@dataclass(slots=True)
class _Level:
    fd: int
    path: str
    below: Sequence[Path]  # the directories underneath that merge here
    whole: bool  # what is not here is gone
    names: Sequence[str]
    entries: Generator[tuple[str, int, os.stat_result], None, None]


class _Descent:
    """A walk that holds one descriptor a level."""

    def __init__(self, top: Path) -> None:
        self.levels: list[_Level] = []
        self._top = top

    def __enter__(self) -> Self:
        fd = os.open(self._top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.enter(fd, "", (), False)
        finally:
            os.close(fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self.levels:
            self.leave()

    def enter(self, path_fd: int, path: str, below: Sequence[Path], whole: bool) -> _Level:
        fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        names = os.listdir(fd)
        self.levels.append(_Level(fd, path, below, whole, names, _entries(fd, names)))
        return self.levels[-1]

    def leave(self) -> None:
        level = self.levels.pop()
        level.entries.close()
        os.close(level.fd)


def _entries(directory_fd: int, names: Sequence[str]) -> Generator[tuple[str, int, os.stat_result], None, None]:
    """Name, O_PATH descriptor (closed when the next is asked for) and details of what is in a directory."""
    for name in names:
        try:
            fd = os.open(name, _PATH, dir_fd=directory_fd)
        except FileNotFoundError:
            continue
        try:
            yield name, fd, os.fstat(fd)
        finally:
            os.close(fd)


def _compare(top: Path, below: Sequence[Path], whole: bool, kinds: dict[str, int]) -> None:
    with _Descent(top) as descent:
        descent.levels[0].below, descent.levels[0].whole = below, whole
        _note_missing(descent.levels[0], kinds)
        while descent.levels:
            level = descent.levels[-1]
            for name, fd, details in level.entries:
                place = joined(level.path, name)
                found = find(level.below, name)
                kind = _kind(fd, details, found)
                if kind is not None:
                    kinds[place] = kind
                if stat.S_ISDIR(details.st_mode):
                    if len(descent.levels) >= _DEEPEST:
                        raise HostFailure(f"comparing {place!r}", f"more than {_DEEPEST} directories within each other")
                    opaque = level.whole or is_opaque(Path(f"/proc/self/fd/{fd}"))
                    _note_missing(descent.enter(fd, place, found.directories if found else (), opaque), kinds)
                    break
            else:
                descent.leave()


def _note_missing(level: _Level, kinds: dict[str, int]) -> None:
    if level.whole and level.below:
        for name in list_names(level.below).difference(level.names):
            kinds[joined(level.path, name)] = DELETED


def _kind(fd: int, details: os.stat_result, found: Found | None) -> int | None:
    if is_whiteout(details):
        return DELETED if found else None
    if found is None:
        return ADDED
    return MODIFIED if _differs(fd, details, found) else None


def _differs(fd: int, details: os.stat_result, found: Found) -> bool:
    old = found.details
    if (details.st_mode, details.st_uid, details.st_gid, details.st_rdev) != (
        old.st_mode,
        old.st_uid,
        old.st_gid,
        old.st_rdev,
    ):
        return True
    if stat.S_ISDIR(details.st_mode):
        return False
    if (details.st_mtime_ns, details.st_size) != (old.st_mtime_ns, old.st_size):
        return True
    return stat.S_ISREG(details.st_mode) and _capability(f"/proc/self/fd/{fd}") != _capability(str(found.path))


def _capability(path: str) -> bytes:
    try:
        return os.getxattr(path, _CAPABILITY)
    except OSError:
        return b""
