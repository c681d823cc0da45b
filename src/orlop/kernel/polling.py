"""Waiting until one of some descriptors can be read, whatever their numbers: select(2) ends at 1023."""

import select
from collections.abc import Iterable


def readable(fds: Iterable[int], seconds: float | None = None) -> list[int]:
    """Those that can be read or have ended; none when that took longer."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _ in poller.poll(None if seconds is None else seconds * 1000)]
