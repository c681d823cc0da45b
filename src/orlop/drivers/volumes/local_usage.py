"""How much a directory holds, as `docker system df` counts it."""

import errno
import os
import stat
from collections.abc import Callable

from orlop.drivers.volumes.abilities import Measurement
from orlop.drivers.volumes.local_staging import is_empty
from orlop.drivers.volumes.mounted_uses import is_foreign
from orlop.drivers.volumes.volume_directory import DATA, VolumeDirectory, entered
from orlop.kernel.mounts import mounts_at_or_below, spelled
from orlop.kernel.openat2 import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSED_OVER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)
DEEPEST = 500  # each level costs a descriptor, and whoever writes to the volume could want to use them up
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own (stat(2))


def measure_directory(volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
    """Of a volume whose bytes lie in `_data` itself."""
    mounted = mounts_at_or_below(volume.path) if volume.may_have_mounts() else []
    if any(entry.mount_point == spelled(volume.data_path) for entry in mounted):
        return None  # neither ours to walk, nor sure to answer
    with entered(volume.fd, DATA) as data_fd:
        if not mounted and is_empty(data_fd):
            return Measurement(0, 0, 0, os.fstat(data_fd).st_mtime_ns)
        return measure(data_fd, stop, has_mounts=bool(mounted))


def measure_mounted(volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
    """Of a volume whose bytes are mounted on `_data` while it is used: only then, and only where they are this
    machine's own, for a server need not answer."""
    mounted = mounts_at_or_below(volume.path)
    content = [entry for entry in mounted if entry.mount_point == spelled(volume.data_path)]
    if not content or is_foreign(content[-1].source, content[-1].fs_type):
        return None
    with entered(volume.fd, DATA) as data_fd:
        return measure(data_fd, stop, has_mounts=len(mounted) > len(content))


def measure(top_fd: int, stop: Callable[[], bool] = lambda: False, has_mounts: bool = False) -> Measurement | None:
    """Everything below, hard links once, links not followed; None when stopped. What vanishes meanwhile does not count.
    Raises OSError where the disk fails.

    What is mounted somewhere below is neither counted nor looked at: its storage may not answer. `has_mounts` says that
    there may be any, which costs two calls more for each file; directories are always entered so that the kernel
    refuses to cross."""
    counter = _Counter(top_fd, has_mounts)
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
            if len(open_fds) > DEEPEST:
                raise OSError(errno.ELOOP, f"directories are nested more than {DEEPEST} deep")
            fd = _entered(open_fds[-1], waiting[-1].pop())
            if fd < 0:
                continue
            open_fds.append(fd)
            counter.add(os.fstat(fd))
            waiting.append(counter.count(fd))
    finally:
        for fd in open_fds:
            os.close(fd)
    return Measurement(counter.size_bytes, counter.disk_bytes, counter.entries, counter.last_write_ns)


def _entered(directory_fd: int, name: str) -> int:
    """-1 for what is a directory of this file system no more, or is on another mount."""
    try:
        return open_beneath(directory_fd, name, _DIRECTORY, no_symlinks=True, no_xdev=True)
    except OSError as error:
        if error.errno in _PASSED_OVER:
            return -1
        raise


class _Counter:
    def __init__(self, top_fd: int, has_mounts: bool) -> None:
        self._has_mounts = has_mounts
        self._linked: set[int] = set()
        self.size_bytes = 0
        self.disk_bytes = 0
        self.entries = 0
        self.last_write_ns = os.fstat(top_fd).st_mtime_ns

    def count(self, fd: int) -> list[str]:
        """Count what is in a directory but its directories, which are returned."""
        directories: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                    continue
                details = self._look(fd, entry)
                if details is not None:
                    self.add(details)
        return directories

    def _look(self, fd: int, entry: "os.DirEntry[str]") -> os.stat_result | None:
        if not self._has_mounts:
            try:
                return entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                return None
        try:
            found = open_beneath(fd, entry.name, os.O_PATH | os.O_NOFOLLOW, no_xdev=True)
        except OSError as error:
            if error.errno in _PASSED_OVER:
                return None
            raise
        try:
            return os.fstat(found)
        finally:
            os.close(found)

    def add(self, details: os.stat_result) -> None:
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
