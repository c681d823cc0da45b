"""One entry of a tree that is being copied (trees.py): its attributes, the data of a small file, links and nodes."""

import errno
import os
import stat
from dataclasses import field
from pathlib import Path

from orlop.archive.attributes import SHADOWS
from orlop.model.value import dataclass

_NO_XATTR = (errno.EOPNOTSUPP, errno.ENODATA)


@dataclass(slots=True)
class Level:
    """A directory under way: the descriptors of both sides and the directories still to be entered."""

    source_fd: int
    target_fd: int
    path: str  # of the target, below the top
    waiting: list[str]
    # Owner, group and mode that a new file gets in the target, by the mode that it is made with: a file system's own
    # rules (set-group-id, default ACLs) are the same for all files of a directory.
    made: dict[int, tuple[int, int, int]] = field(default_factory=dict)


def copy_attributes(source_fd: int, target_fd: int, lost: set[str] | None = None) -> None:
    """Owner, extended attributes, mode and times of one open file or directory to another. Names of attributes that
    the target's file system cannot keep are added to `lost`."""
    settle_file(source_fd, target_fd, os.fstat(source_fd), lost if lost is not None else set())


def as_made(target: int) -> tuple[int, int, int]:
    found = os.fstat(target)
    return found.st_uid, found.st_gid, found.st_mode


def settle_file(
    source: int, target: int, details: os.stat_result, lost: set[str], made: tuple[int, int, int] | None = None
) -> None:
    """Only what is not so already: each change is one of the file system's journal. `made`: what it is like, where that
    is known."""
    uid, gid, mode = made or as_made(target)
    # chown first: it clears set-id bits and capabilities.
    is_given = uid != details.st_uid or gid != details.st_gid
    if is_given:
        os.fchown(target, details.st_uid, details.st_gid)
    has_more = _copy_xattrs(source, target, lost)
    if is_given or has_more or mode != details.st_mode:
        os.fchmod(target, stat.S_IMODE(details.st_mode))
    os.utime(target, ns=(details.st_atime_ns, details.st_mtime_ns))


def _copy_xattrs(source: int | str, target: int | str, lost: set[str], follow: bool = True) -> bool:
    """Whether there are any."""
    try:
        names = os.listxattr(source) if follow else os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno in (*_NO_XATTR, errno.ENOENT):  # what has no descriptor may be gone by now
            return False
        raise
    for name in names:
        if name in SHADOWS:
            continue
        try:
            if follow:
                os.setxattr(target, name, os.getxattr(source, name))
            else:
                value = os.getxattr(source, name, follow_symlinks=False)
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (*_NO_XATTR, errno.ENOENT):
                raise
            if error.errno == errno.EOPNOTSUPP:
                lost.add(name)
    return bool(names)


def read_and_write(source: int, target: int, size: int) -> None:
    # As much as there should be: a buffer of the largest size would cost more than the reading. What has been added
    # since is as if it came after the copy.
    while size > 0 and (data := os.read(source, size)):
        size -= len(data)
        view = memoryview(data)[os.write(target, data) :]
        while view:
            view = view[os.write(target, view) :]


def make_link(level: Level, name: str, details: os.stat_result, link_target: str, lost: set[str]) -> None:
    os.symlink(link_target, name, dir_fd=level.target_fd)
    os.chown(name, details.st_uid, details.st_gid, dir_fd=level.target_fd, follow_symlinks=False)
    source, target = f"/proc/self/fd/{level.source_fd}/{name}", f"/proc/self/fd/{level.target_fd}/{name}"
    _copy_xattrs(source, target, lost, follow=False)
    times = (details.st_atime_ns, details.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=level.target_fd, follow_symlinks=False)


def copy_node(level: Level, name: str, details: os.stat_result, lost: set[str]) -> None:
    """A device, fifo or socket, which is made, never opened."""
    os.mknod(name, details.st_mode, details.st_rdev, dir_fd=level.target_fd)
    os.chown(name, details.st_uid, details.st_gid, dir_fd=level.target_fd, follow_symlinks=False)
    # The umask was in mknod's way. By a descriptor: the name may be a link by now.
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=level.target_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ESTALE, "changed while it was copied", level.path + name)
        Path(f"/proc/self/fd/{fd}").chmod(stat.S_IMODE(details.st_mode))
    finally:
        os.close(fd)
    source, target = f"/proc/self/fd/{level.source_fd}/{name}", f"/proc/self/fd/{level.target_fd}/{name}"
    _copy_xattrs(source, target, lost, follow=False)
    times = (details.st_atime_ns, details.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=level.target_fd, follow_symlinks=False)
