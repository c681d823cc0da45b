"""Is a process that reads and writes somebody's storage still getting on?

It is as long as the kernel counts anything of it: time on a processor, bytes, calls. A pipe that its other end is
expected to empty or to fill is no stall: the client is slow, not the storage.
"""

import array
import fcntl
import termios
import time
from pathlib import Path


class Stall:
    """`patience_seconds` without any progress are too many. `writes_to` and `reads_from` are the pipes (-1: none) that
    have a client at the other end."""

    def __init__(self, patience_seconds: float, writes_to: int = -1, reads_from: int = -1) -> None:
        self._patience_seconds = patience_seconds
        self._writes_to = writes_to
        self._reads_from = reads_from
        self._seen = ""
        self._since = time.monotonic()

    def check(self, pid: int) -> None:
        """Called about every second. Raises TimeoutError."""
        counted = _counters(pid)
        waits_for_client = (self._writes_to >= 0 and _waiting_bytes(self._writes_to) > 0) or (
            self._reads_from >= 0 and _waiting_bytes(self._reads_from) == 0
        )
        if counted != self._seen or waits_for_client:
            self._seen, self._since = counted, time.monotonic()
        elif time.monotonic() - self._since > self._patience_seconds:
            raise TimeoutError(110, f"no progress for {self._patience_seconds:g} s")


def _counters(pid: int) -> str:
    """Of the process, as text; only whether they change counts."""
    try:
        process = Path(f"/proc/{pid}")
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        return f"{fields[11:13]}{(process / 'io').read_text()}"
    except (OSError, ValueError):
        return ""  # it has ended: the caller will see that


def _waiting_bytes(fd: int) -> int:
    """In a pipe, asked at either end."""
    found = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, found)
    except OSError:
        return 0
    return found[0]
