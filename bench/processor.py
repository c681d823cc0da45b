"""Processor time that programs took: what they cost, which a busy machine changes less than how long they take."""

import time
from collections.abc import Iterable
from contextlib import suppress

_PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of clock_getcpuclockid(3), in nanoseconds and with the threads that have ended


def processor_seconds(pids: Iterable[int]) -> float:
    """Of these processes so far, all their threads; one that has gone counts nothing."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    return total
