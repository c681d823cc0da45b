"""The reaper: gives retired volumes up when their grace ends, or, the oldest first, when the disk gets low.

A thread that sleeps until the next volume is due, somebody wakes it, or it is time to look at the disk again.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from orlop.engine.retirement import Retirements
from orlop.errors import OrlopError
from orlop.model.volume import RetiredVolume

log = logging.getLogger(__name__)

LONGEST_SLEEP_SECONDS = 60.0  # how often the disk is looked at
AFTER_FAILURE_SECONDS = 30.0
PATIENCE_SECONDS = 3.0


def free_percent(path: Path) -> float:
    """Free space of the file system, of what an ordinary process may use."""
    found = os.statvfs(path)
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    return 100.0 * found.f_bavail / usable if usable else 100.0


class Reaper:
    def __init__(
        self,
        retirements: Retirements,
        root: Path,
        clock: Callable[[], int] = time.time_ns,
        free: Callable[[Path], float] = free_percent,
    ) -> None:
        self._retirements = retirements
        self._root = root
        self._clock = clock
        self._free = free
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._retirements.wake = self._woken.set
        self._woken.set()  # what a crash left in .purging goes first
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def reap(self) -> list[RetiredVolume]:
        """One round. Returns what was given up. A volume that cannot go (something is mounted below it) stays, is
        reported and tried again."""
        now = self._clock()
        given_up: list[RetiredVolume] = []
        low = self._is_low()
        for retired in self._candidates():
            if self._stopping:
                break
            if retired.purge_at_ns <= now:
                reason = "its grace period is over"
            elif low:
                reason = "the disk is low"
            else:
                continue
            try:
                given_up.append(self._retirements.give_up(retired, reason))
                self._retirements.cleanup()
                low = low and self._is_low()
            except (OrlopError, OSError) as error:
                log.warning("retired volume %s (%s) stays: %s", retired.volume.name, retired.id[:12], error)
        return given_up

    def _candidates(self) -> list[RetiredVolume]:
        """Oldest first."""
        return [retired for retired in self._retirements.all() if not retired.volume.is_protected]

    def _is_low(self) -> bool:
        return self._free(self._root) < self._retirements.policy.low_disk_percent

    def seconds_to_next(self) -> float:
        due = min((retired.purge_at_ns for retired in self._candidates()), default=None)
        if due is None:
            return LONGEST_SLEEP_SECONDS
        wait = (due - self._clock()) / 1e9
        return min(wait, LONGEST_SLEEP_SECONDS) if wait > 0 else AFTER_FAILURE_SECONDS

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping:
            self._woken.wait(wait)
            self._woken.clear()
            if self._stopping:
                return
            try:
                self._retirements.cleanup()
                self.reap()
            except (OrlopError, OSError) as error:
                log.warning("the reaper could not finish: %s", error)
            except Exception:
                log.exception("the reaper stumbled and goes on")
            wait = self.seconds_to_next()
