"""Whole file systems: flushing one, naming its kind."""

import ctypes
import fcntl
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from orlop.kernel.libc import LIBC, check, encoded
from orlop.model.value import dataclass

_NAMES = {  # f_type of statfs(2) -> what Docker calls it
    0xEF53: "extfs",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlayfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0x6969: "nfs",
    0x65735546: "fuse",
    0xCA451A4E: "bcachefs",
}
_SYNC_FILE_RANGE_WRITE = 2


_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_NO_COPY_ON_WRITE = 0x00800000


@dataclass(frozen=True, slots=True)
class FileSystemSize:
    """As statfs(2) would tell of it: what the file system itself takes is left out."""

    bytes: int
    used_bytes: int
    inodes: int
    used_inodes: int  # files and directories below the top


class _Statfs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_long * 30)]


def syncfs(fd: int) -> None:
    """Everything written so far to the file system that holds `fd` is on disk."""
    check(LIBC.syncfs(fd), "syncfs")


def begin_writeback(fd: int) -> None:
    """Let the disk start on a file's bytes now, without waiting for it; a later flush has less to do."""
    LIBC.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def sync_files(paths: Iterable[Path], missing_ok: bool = False) -> None:
    """fsync of files and directories that were just made, together; few enough to have them all open.
    With `missing_ok` those that have gone meanwhile do not count.

    Writing all of them out before the first fsync lets a journaling file system put the lot into one commit; one
    after the other would cost a commit each (delayed allocation dirties the next file's inode again).
    """
    fds: list[int] = []
    try:
        for path in paths:
            try:
                fds.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            except FileNotFoundError:
                if not missing_ok:
                    raise
        for fd in fds:
            begin_writeback(fd)  # a directory has no pages of its own and refuses (ESPIPE)
        for fd in fds:
            os.fsync(fd)
    finally:
        for fd in fds:
            os.close(fd)


def never_copy_on_write(fd: int) -> None:
    """For a new file on btrfs that is written to in small pieces all over: chattr +C."""
    # The kernel reads and writes an int, whatever the number of the call says of its size.
    (flags,) = struct.unpack("=I4x", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))
    fcntl.ioctl(fd, _SET_FLAGS, struct.pack("=I4x", flags | _NO_COPY_ON_WRITE))


def filesystem_name(where: str | int) -> str:
    """Of a path or an open file."""
    found = _Statfs()
    if isinstance(where, int):
        check(LIBC.fstatfs(where, ctypes.byref(found)), "fstatfs")
    else:
        check(LIBC.statfs(encoded(where), ctypes.byref(found)), "statfs", where)
    return _NAMES.get(found.f_type & 0xFFFFFFFF, f"{found.f_type & 0xFFFFFFFF:#x}")
