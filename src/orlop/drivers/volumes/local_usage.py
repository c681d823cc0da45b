"""How much a directory holds, as `docker system df` counts it."""

import os
import stat
from collections.abc import Callable

from orlop.drivers.volumes.driver import Measurement

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own (stat(2))


def measure(top_fd: int, stop: Callable[[], bool] = lambda: False) -> Measurement | None:
    """Everything below, hard links once, links not followed, mounts not entered; None when stopped. What vanishes
    meanwhile does not count. Raises OSError where the disk fails."""
    counter = _Counter(top_fd)
    open_fds = [os.dup(top_fd)]
    waiting: list[list[str]] = []
    try:
        waiting.append(counter.count(top_fd))
        while open_fds:
            if stop():
                return None
            if not waiting[-1]:
                os.close(open_fds.pop())
                waiting.pop()
                continue
            try:
                fd = os.open(waiting[-1].pop(), _DIRECTORY, dir_fd=open_fds[-1])
            except (FileNotFoundError, NotADirectoryError):
                continue
            open_fds.append(fd)
            waiting.append(counter.count(fd))
    finally:
        for fd in open_fds:
            os.close(fd)
    return Measurement(counter.size_bytes, counter.disk_bytes, counter.entries, counter.last_write_ns)


class _Counter:
    def __init__(self, top_fd: int) -> None:
        top = os.fstat(top_fd)
        self._device = top.st_dev
        self._linked: set[int] = set()
        self.size_bytes = 0
        self.disk_bytes = 0
        self.entries = 0
        self.last_write_ns = top.st_mtime_ns

    def count(self, fd: int) -> list[str]:
        """Count what is in a directory; the directories in it."""
        directories: list[str] = []
        if os.fstat(fd).st_dev != self._device:
            return directories
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    details = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self._add(details)
                if stat.S_ISDIR(details.st_mode):
                    directories.append(entry.name)
        return directories

    def _add(self, details: os.stat_result) -> None:
        self.entries += 1
        self.last_write_ns = max(self.last_write_ns, details.st_mtime_ns)
        is_directory = stat.S_ISDIR(details.st_mode)
        if details.st_nlink > 1 and not is_directory:
            if details.st_ino in self._linked:
                return
            self._linked.add(details.st_ino)
        self.disk_bytes += details.st_blocks * _BLOCK_BYTES
        if not is_directory:
            self.size_bytes += details.st_size
