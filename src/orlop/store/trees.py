"""Copy a directory tree as it is: owners, modes, times, extended attributes (capabilities among them), hard links,
symbolic links, devices, fifos, holes.

Neither side is reached by path: each directory is opened by its parent's descriptor, and never through a link, so that
nobody who can write to either tree can lead the copy elsewhere. The target must be a directory of our own that nobody
else sees yet. Bytes are shared with the source where the file system can (FICLONE), else copied in the kernel.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

FICLONE = 0x40049409
_SMALL = 256 << 10
_CHUNK = 64 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_TARGET = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF, errno.EPERM)
_NO_XATTR = (errno.EOPNOTSUPP, errno.ENODATA)


@dataclass(slots=True)
class _Level:
    """A directory under way: the descriptors of both sides and the directories still to be entered."""

    source_fd: int
    target_fd: int
    path: str  # of the target, below the top
    waiting: list[str]


class TreeCopy:
    """One copy. `run` once."""

    def __init__(self, source_fd: int, target_fd: int, sync_each: bool = False) -> None:
        """Both directories are open; they stay the caller's."""
        self._sync_each = sync_each
        self._source_fd = source_fd
        self._target_fd = target_fd
        self._linked: dict[tuple[int, int], str] = {}
        self._clones = True
        self._ranges = True
        self.entries = 0

    def run(self) -> None:
        levels = [_Level(os.dup(self._source_fd), os.dup(self._target_fd), "", [])]
        try:
            self._copy_entries(levels[0])
            while levels:
                level = levels[-1]
                if level.waiting:
                    levels.append(self._enter(level, level.waiting.pop()))
                    self._copy_entries(levels[-1])
                    continue
                copy_attributes(level.source_fd, level.target_fd)
                if self._sync_each:
                    os.fsync(level.target_fd)
                _close(levels.pop())
        finally:
            for level in levels:
                _close(level)

    def _enter(self, above: _Level, name: str) -> _Level:
        source_fd = os.open(name, _DIRECTORY, dir_fd=above.source_fd)
        try:
            os.mkdir(name, 0o700, dir_fd=above.target_fd)
            target_fd = os.open(name, _DIRECTORY, dir_fd=above.target_fd)
        except BaseException:
            os.close(source_fd)
            raise
        return _Level(source_fd, target_fd, f"{above.path}{name}/", [])

    def _copy_entries(self, level: _Level) -> None:
        """Everything in a directory but the directories, which are left for later."""
        with os.scandir(level.source_fd) as entries:
            for entry in entries:
                self.entries += 1
                details = entry.stat(follow_symlinks=False)
                kind = stat.S_IFMT(details.st_mode)
                if kind == stat.S_IFDIR:
                    level.waiting.append(entry.name)
                elif details.st_nlink > 1 and self._link(level, entry.name, details):
                    continue
                elif kind == stat.S_IFREG:
                    self._copy_file(level, entry.name)
                elif kind == stat.S_IFLNK:
                    _copy_link(level, entry.name, details)
                else:
                    _copy_node(level, entry.name, details)

    def _link(self, level: _Level, name: str, details: os.stat_result) -> bool:
        """True when the file was copied before under another name and now has this one too."""
        identity = (details.st_dev, details.st_ino)
        first = self._linked.get(identity)
        if first is None:
            self._linked[identity] = level.path + name
            return False
        os.link(first, name, src_dir_fd=self._target_fd, dst_dir_fd=level.target_fd, follow_symlinks=False)
        return True

    def _copy_file(self, level: _Level, name: str) -> None:
        source = os.open(name, _SOURCE, dir_fd=level.source_fd)
        try:
            details = os.fstat(source)
            if not stat.S_ISREG(details.st_mode):
                raise OSError(errno.ESTALE, "changed while it was copied", level.path + name)
            target = os.open(name, _TARGET, 0o600, dir_fd=level.target_fd)
            try:
                self._copy_bytes(source, target, details)
                _settle_file(source, target, details)
                if self._sync_each:
                    os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_bytes(self, source: int, target: int, details: os.stat_result) -> None:
        size = details.st_size
        if self._clones and size:
            try:
                fcntl.ioctl(target, FICLONE, source)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._clones = False
        if details.st_blocks * 512 < size:
            self._copy_sparse(source, target, size)
        elif size <= _SMALL:
            _read_and_write(source, target)
        else:
            self._copy_range(source, target, 0, size)

    def _copy_sparse(self, source: int, target: int, size: int) -> None:
        position = 0
        while position < size:
            try:
                begin = os.lseek(source, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            position = os.lseek(source, begin, os.SEEK_HOLE)
            self._copy_range(source, target, begin, position)
        os.ftruncate(target, size)

    def _copy_range(self, source: int, target: int, begin: int, end: int) -> None:
        while self._ranges and begin < end:
            try:
                done = os.copy_file_range(source, target, min(end - begin, _CHUNK), begin, begin)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._ranges = False
                break
            if not done:
                return  # the file was cut short meanwhile
            begin += done
        os.lseek(target, begin, os.SEEK_SET)
        while begin < end:
            done = os.sendfile(target, source, begin, min(end - begin, _CHUNK))
            if not done:
                return
            begin += done


def copy_tree(source_fd: int, target_fd: int, sync_each: bool = False) -> int:
    """Copy what is in one open directory into another, empty one, and the directory's own attributes. Returns the
    number of entries. With `sync_each` every file is on the disk when this returns. Raises OSError."""
    copy = TreeCopy(source_fd, target_fd, sync_each)
    copy.run()
    return copy.entries


def count_entries(directory_fd: int, enough: int) -> tuple[int, int]:
    """Entries below a directory and the sizes of its files, counted until there are `enough`."""
    entries, size = 0, 0
    waiting = [os.dup(directory_fd)]
    try:
        while waiting and entries < enough:
            fd = waiting.pop()
            try:
                with os.scandir(fd) as found:
                    for entry in found:
                        entries += 1
                        details = entry.stat(follow_symlinks=False)
                        if not stat.S_ISDIR(details.st_mode):
                            size += details.st_size
                        elif entries < enough:
                            waiting.append(os.open(entry.name, _DIRECTORY, dir_fd=fd))
            finally:
                os.close(fd)
    finally:
        for fd in waiting:
            os.close(fd)
    return entries, size


def copy_attributes(source_fd: int, target_fd: int) -> None:
    """Owner, extended attributes, mode and times of one open file or directory to another."""
    _settle_file(source_fd, target_fd, os.fstat(source_fd))


def _settle_file(source: int, target: int, details: os.stat_result) -> None:
    # chown first: it clears set-id bits and capabilities.
    os.fchown(target, details.st_uid, details.st_gid)
    _copy_xattrs(source, target)
    os.fchmod(target, stat.S_IMODE(details.st_mode))
    os.utime(target, ns=(details.st_atime_ns, details.st_mtime_ns))


def _copy_xattrs(source: int | str, target: int | str, follow: bool = True) -> None:
    try:
        names = os.listxattr(source) if follow else os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTR:
            return
        raise
    for name in names:
        try:
            if follow:
                os.setxattr(target, name, os.getxattr(source, name))
            else:
                value = os.getxattr(source, name, follow_symlinks=False)
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise


def _read_and_write(source: int, target: int) -> None:
    while data := os.read(source, _SMALL):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]


def _copy_link(level: _Level, name: str, details: os.stat_result) -> None:
    os.symlink(os.readlink(name, dir_fd=level.source_fd), name, dir_fd=level.target_fd)
    os.chown(name, details.st_uid, details.st_gid, dir_fd=level.target_fd, follow_symlinks=False)
    source, target = f"/proc/self/fd/{level.source_fd}/{name}", f"/proc/self/fd/{level.target_fd}/{name}"
    _copy_xattrs(source, target, follow=False)
    times = (details.st_atime_ns, details.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=level.target_fd, follow_symlinks=False)


def _copy_node(level: _Level, name: str, details: os.stat_result) -> None:
    """A device, fifo or socket, which is made, never opened."""
    os.mknod(name, details.st_mode, details.st_rdev, dir_fd=level.target_fd)
    os.chown(name, details.st_uid, details.st_gid, dir_fd=level.target_fd, follow_symlinks=False)
    # The umask was in mknod's way. Nobody else sees the target, so the name is still what was just made.
    os.chmod(name, stat.S_IMODE(details.st_mode), dir_fd=level.target_fd)
    source, target = f"/proc/self/fd/{level.source_fd}/{name}", f"/proc/self/fd/{level.target_fd}/{name}"
    _copy_xattrs(source, target, follow=False)
    times = (details.st_atime_ns, details.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=level.target_fd, follow_symlinks=False)


def _close(level: _Level) -> None:
    for fd in (level.source_fd, level.target_fd):
        with suppress(OSError):
            os.close(fd)
