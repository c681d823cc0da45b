"""A wall clock that can be set, for one host of many on a machine: whatever Python runs there reads it as many seconds
off as a file says. No namespace gives a host a CLOCK_REALTIME of its own. Python imports this by itself where the
folder is on its path."""

import os
import time
from collections.abc import Callable

_FILE = os.environ.get("ORLOP_TEST_CLOCK", "")


def _seconds_off() -> int:
    try:
        fd = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return int(os.read(fd, 32) or b"0")
    finally:
        os.close(fd)


def _shifted(read: Callable[[], float]) -> Callable[[], float]:
    return lambda: read() + _seconds_off()


def _shifted_ns(read: Callable[[], int]) -> Callable[[], int]:
    return lambda: read() + _seconds_off() * 1_000_000_000


if _FILE:
    time.time = _shifted(time.time)
    time.time_ns = _shifted_ns(time.time_ns)
