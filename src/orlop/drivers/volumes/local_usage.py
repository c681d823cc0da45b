"""How much a directory holds, as `docker system df` counts it."""

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def apparent_bytes(top_fd: int) -> int:
    """Sum of st_size of everything but directories, hard links once, links not followed, mounts not entered. What
    vanishes meanwhile does not count. Raises OSError where the disk fails."""
    device = os.fstat(top_fd).st_dev
    linked: set[int] = set()
    total = 0
    open_fds = [os.dup(top_fd)]
    waiting: list[list[str]] = [[]]
    try:
        waiting[0], total = _count(open_fds[0], device, linked)
        while open_fds:
            if not waiting[-1]:
                os.close(open_fds.pop())
                waiting.pop()
                continue
            try:
                fd = os.open(waiting[-1].pop(), _DIRECTORY, dir_fd=open_fds[-1])
            except (FileNotFoundError, NotADirectoryError):
                continue
            open_fds.append(fd)
            directories, size = _count(fd, device, linked)
            waiting.append(directories)
            total += size
    finally:
        for fd in open_fds:
            os.close(fd)
    return total


def _count(fd: int, device: int, linked: set[int]) -> tuple[list[str], int]:
    """The directories in a directory, and the size of what else is in it."""
    directories: list[str] = []
    total = 0
    if os.fstat(fd).st_dev != device:
        return directories, total
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                details = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(details.st_mode):
                directories.append(entry.name)
                continue
            if details.st_nlink > 1:
                if details.st_ino in linked:
                    continue
                linked.add(details.st_ino)
            total += details.st_size
    return directories, total
