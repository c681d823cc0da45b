"""The mount table, read anew only when something was mounted or unmounted.

Making the table's text is what costs: a quarter of a millisecond with a few dozen containers. The kernel makes the
open file ready for "exceptional" conditions at each mount and unmount (proc_pid_mountinfo(5)), but not when a directory
above a mount point is renamed, which changes the paths of the table too. So this is for questions whose answer may be
wrong without harm; whoever deletes asks orlop.kernel.mounts.
"""

import functools
import os
import select
import threading
import weakref

from orlop.kernel.mounts import escape

_CHUNK = 1 << 16


_escaped = functools.lru_cache(16)(escape)  # who asks for many asks for what is above them first


class MountWatch:
    """Of the mount namespace it was made in. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self._fd)  # whoever drops us unclosed leaves no descriptor
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self._text = self._read()

    def may_show(self, path: str) -> bool:
        """Whether a line may be about this path, links resolved, or something below it."""
        with self._lock:
            # Asked before reading: what changes in between is read now and asks for one more reading.
            if self._poll.poll(0):
                self._text = self._read()
            return _escaped(path) in self._text

    def look_again(self) -> None:
        """A directory above a mount point was renamed."""
        with self._lock:
            self._text = self._read()

    def close(self) -> None:
        self._close()

    def _read(self) -> bytes:
        os.lseek(self._fd, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._fd, _CHUNK):
            parts.append(part)
        return b"".join(parts)
