"""Holes: parts of a file that read as zeros and take no space (fallocate(2), lseek(2))."""

import ctypes
import errno
import os
from collections.abc import Iterator

from orlop.kernel.libc import LIBC, check

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_ZEROS = bytes(1 << 20)


def make_hole(fd: int, offset: int, count: int) -> None:
    """That part reads as zeros from now on, and takes no space where the file system can do without. What is past the
    end of the file stays past it, or becomes a part of the file: the caller sets the size."""
    result = LIBC.fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_int64(offset), ctypes.c_int64(count))
    if result == 0:
        return
    if ctypes.get_errno() not in _CANNOT:
        check(result, "fallocate")
    end = offset + count
    while offset < end:
        offset += os.pwrite(fd, memoryview(_ZEROS)[: end - offset], offset)


def data_within(fd: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where there is something other than holes, piece by piece. A file system that cannot tell says: everywhere."""
    while begin < end:
        try:
            start = os.lseek(fd, begin, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from there on
                return
            raise
        if start >= end:
            return
        stop = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        yield start, stop
        begin = stop
