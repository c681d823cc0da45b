"""What takes the room in a volume, directory by directory: `orlop volume du`.

The tree belongs to somebody who may be changing it right now: directories are opened relative to their parents, links
are not followed, other file systems are not entered, and what vanishes meanwhile does not count.
"""

import errno
import heapq
import os
from collections.abc import Callable

from orlop.kernel.openat2 import open_beneath
from orlop.model.value import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own (stat(2))
_PASSED_OVER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EXDEV)
MOST_ROWS = 1000
DEEPEST = 500  # each level costs a descriptor, and the tree may be made by somebody who wants to use them up


@dataclass(slots=True)
class TreeUsage:
    """Of everything below a path, hard links once."""

    path: str  # relative to where the walk began, "" there
    is_directory: bool = True
    size_bytes: int = 0  # apparent: sum of st_size of all but directories
    disk_bytes: int = 0
    entries: int = 0  # below the path
    last_write_ns: int = 0


@dataclass(slots=True)
class _Level:
    fd: int
    usage: TreeUsage
    waiting: list[str]


class TreeWalk:
    """One walk; `so_far` may be looked at from another thread."""

    def __init__(self, top_fd: int, depth: int, stop: Callable[[], bool] = lambda: False) -> None:
        """`depth`: how many levels below the top have rows of their own."""
        self._top_fd = top_fd
        self._depth = depth
        self._stop = stop
        self._linked: set[int] = set()
        self._rows: list[tuple[int, int, int, TreeUsage]] = []  # a heap: the smallest goes first
        self._number = 0
        self.so_far = TreeUsage("")
        self.left_out = 0  # rows, the smallest

    def run(self) -> list[TreeUsage] | None:
        """The whole first, then the biggest on disk first; None when stopped. Raises OSError where the disk fails."""
        self.so_far.last_write_ns = os.fstat(self._top_fd).st_mtime_ns
        levels = [_Level(os.dup(self._top_fd), self.so_far, [])]
        try:
            levels[0].waiting = self._count(levels, 0)
            while levels:
                if self._stop():
                    return None
                if levels[-1].waiting:
                    self._descend(levels, levels[-1].waiting.pop())
                else:
                    self._ascend(levels)
        finally:
            for level in levels:
                os.close(level.fd)
        rows = sorted(self._rows, key=lambda row: (-row[0], -row[1], row[3].path))
        return [self.so_far, *(row[3] for row in rows)]

    def _descend(self, levels: list[_Level], name: str) -> None:
        depth = len(levels)
        if depth > DEEPEST:
            raise OSError(errno.ELOOP, f"directories are nested more than {DEEPEST} deep", name)
        try:
            fd = open_beneath(levels[-1].fd, name, _DIRECTORY, no_symlinks=True, no_xdev=True)
        except OSError as error:
            if error.errno in _PASSED_OVER:
                return
            raise
        details = os.fstat(fd)
        _add(_rows_above(levels), 0, details.st_blocks * _BLOCK_BYTES, details.st_mtime_ns)
        usage = levels[-1].usage
        if depth <= self._depth:
            usage = TreeUsage(_joined(usage.path, name), last_write_ns=details.st_mtime_ns)
        levels.append(_Level(fd, usage, []))
        levels[-1].waiting = self._count(levels, depth)

    def _ascend(self, levels: list[_Level]) -> None:
        level = levels.pop()
        os.close(level.fd)
        if levels and level.usage is not levels[-1].usage:
            self._add_row(level.usage)

    def _count(self, levels: list[_Level], depth: int) -> list[str]:
        """Count what is in a directory; the directories in it."""
        fd = levels[-1].fd
        directories: list[str] = []
        rows = _rows_above(levels)
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):  # not looked at: something may be mounted there
                    directories.append(entry.name)
                    continue
                try:
                    details = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                size, disk = self._sizes(details)
                _add(rows, size, disk, details.st_mtime_ns)
                if depth < self._depth:
                    path = _joined(levels[-1].usage.path, entry.name)
                    self._add_row(TreeUsage(path, False, size, disk, 0, details.st_mtime_ns))
        return directories

    def _sizes(self, details: os.stat_result) -> tuple[int, int]:
        if details.st_nlink > 1:
            if details.st_ino in self._linked:
                return 0, 0
            self._linked.add(details.st_ino)
        return details.st_size, details.st_blocks * _BLOCK_BYTES

    def _add_row(self, usage: TreeUsage) -> None:
        self._number += 1
        row = (usage.disk_bytes, usage.size_bytes, self._number, usage)
        if len(self._rows) < MOST_ROWS:
            heapq.heappush(self._rows, row)
        else:
            heapq.heappushpop(self._rows, row)
            self.left_out += 1


def _add(rows: list[TreeUsage], size_bytes: int, disk_bytes: int, written_at_ns: int) -> None:
    for row in rows:
        row.entries += 1
        row.size_bytes += size_bytes
        row.disk_bytes += disk_bytes
        row.last_write_ns = max(row.last_write_ns, written_at_ns)


def _rows_above(levels: list[_Level]) -> list[TreeUsage]:
    """The sums that a directory counts into, each once."""
    rows: list[TreeUsage] = []
    for level in levels:
        if not rows or rows[-1] is not level.usage:
            rows.append(level.usage)
    return rows


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
