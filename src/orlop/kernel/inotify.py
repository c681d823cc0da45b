"""inotify(7): one descriptor that becomes readable when a watched file changes."""

import os
import struct
from collections.abc import Sequence

from orlop.kernel.libc import LIBC, check, encoded

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000

_HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


def open_inotify() -> int:
    """A descriptor, non-blocking and closed on exec."""
    return check(LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")


def add_watch(fd: int, path: str | os.PathLike[str], mask: int) -> int:
    return check(LIBC.inotify_add_watch(fd, encoded(path), mask), "inotify_add_watch", path)


def read_events(fd: int) -> Sequence[tuple[int, int]]:
    """(watch, mask) of everything that is waiting; empty when nothing is."""
    events: list[tuple[int, int]] = []
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return events
        position = 0
        while position < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, position)
            events.append((watch, mask))
            position += _HEADER.size + length
