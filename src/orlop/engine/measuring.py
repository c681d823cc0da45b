"""Counting what volumes hold, in the background.

A count walks every directory. It never runs in the caller's thread: storage may be large, and it may hang. One thread
counts what ends within seconds; what does not goes to a second one that has all the time, so that one huge volume keeps
no small one waiting. Both run at a lower priority than everything else here. A thread that storage does not let go of
is left behind, a new one takes its place, and that volume is not tried again until the old one has come back.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from dataclasses import field

from orlop.drivers.volumes.abilities import Measurement
from orlop.errors import NotFound, OrlopError
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

Stop = Callable[[], bool]

QUICK_SECONDS = 2.0
LONG_SECONDS = 900.0
GRACE_SECONDS = 5.0  # between a count's deadline and the belief that its thread hangs
_POLL_SECONDS = 0.25
_REST_SECONDS = 0.01  # a long count works and rests in turns, so that the interpreter is there for others
_NICENESS = 10


@dataclass(slots=True, eq=False)
class _Count:
    key: str
    subject: str  # for the log
    walk: Callable[[Stop], Measurement | None]
    result: "Future[Measurement | None]" = field(default_factory=Future)


class Measurer:
    """Thread-safe. A volume that is being counted, or waits for it, is not counted twice."""

    def __init__(self, quick: float = QUICK_SECONDS, long: float = LONG_SECONDS, grace: float = GRACE_SECONDS) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._left_behind: set[str] = set()
        self._long = _Lane("measuring-long", long, grace, self._end, self._came_back, _REST_SECONDS)
        self._quick = _Lane("measuring", quick, grace, self._end_quick, self._came_back)

    def count(self, key: str, subject: str, walk: Callable[[Stop], Measurement | None]) -> "Future[Measurement | None]":
        """The result to come; None when it cannot be told. `walk` gives up when the function it is given says so."""
        self.tend()
        with self._lock:
            found = self._counts.get(key)
            if found is not None:
                return found.result
            count = _Count(key, subject, walk)
            if key in self._left_behind:
                count.result.set_result(None)
                return count.result
            self._counts[key] = count
        self._quick.add(count)
        return count.result

    def is_counting(self, key: str) -> bool:
        return key in self._counts

    def await_all(self, results: Collection["Future[Measurement | None]"], seconds: float) -> bool:
        """Wait for these, no longer than that. Whether all ended."""
        deadline = time.monotonic() + seconds
        pending = set(results)
        while pending:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            pending = set(wait(pending, min(left, _POLL_SECONDS)).not_done)
            if pending:
                self.tend()
        return True

    def tend(self) -> None:
        """Put new threads in the place of those that hang."""
        for lane in (self._quick, self._long):
            hanging = lane.replace_hanging()
            if hanging is not None:
                log.warning("%s: its storage does not answer; it is not measured", hanging.subject)
                with self._lock:
                    self._left_behind.add(hanging.key)
                self._end(hanging, None, False)

    def close(self) -> None:
        self._quick.close()
        self._long.close()

    def _end_quick(self, count: _Count, found: Measurement | None, was_stopped: bool) -> None:
        if found is None and was_stopped:
            self._long.add(count)
        else:
            self._end(count, found, was_stopped)

    def _end(self, count: _Count, found: Measurement | None, was_stopped: bool) -> None:
        with self._lock:
            self._counts.pop(count.key, None)
        if not count.result.done():
            count.result.set_result(found)

    def _came_back(self, count: _Count) -> None:
        with self._lock:
            self._left_behind.discard(count.key)


class _Lane:
    """A thread that counts one after the other, each until its deadline."""

    def __init__(
        self,
        name: str,
        seconds: float,
        grace: float,
        ended: Callable[[_Count, Measurement | None, bool], None],
        came_back: Callable[[_Count], None],
        rest_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._grace = grace
        self._ended = ended
        self._came_back = came_back
        self._rest_seconds = rest_seconds
        self._changed = threading.Condition()
        self._waiting: deque[_Count] = deque()
        self._current: _Count | None = None
        self._began_at = 0.0
        self._generation = 0  # of the thread; an older one that comes back ends
        self._has_thread = False
        self._closed = False

    def add(self, count: _Count) -> None:
        with self._changed:
            if self._closed:
                count.result.cancel()
                return
            self._waiting.append(count)
            self._changed.notify()
            self._grow()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for count in self._waiting:
                count.result.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def replace_hanging(self) -> _Count | None:
        """What the thread hangs at; it is on its own from here on."""
        with self._changed:
            hanging = self._current
            if hanging is None or time.monotonic() - self._began_at < self._seconds + self._grace:
                return None
            self._current = None
            self._generation += 1
            self._has_thread = False
            self._grow()
            return hanging

    def _grow(self) -> None:
        if self._waiting and not self._has_thread:
            self._has_thread = True
            threading.Thread(target=self._run, args=(self._generation,), name=self._name, daemon=True).start()

    def _run(self, generation: int) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (count := self._next(generation)) is not None:
            found, was_stopped = self._walk(count)
            with self._changed:
                is_left_behind = generation != self._generation
                if not is_left_behind:
                    self._current = None
            if is_left_behind:
                self._came_back(count)
                return
            self._ended(count, found, was_stopped)

    def _next(self, generation: int) -> _Count | None:
        with self._changed:
            while not self._waiting and not self._closed and generation == self._generation:
                self._changed.wait()
            if self._closed or generation != self._generation:
                return None
            self._current = self._waiting.popleft()
            self._began_at = time.monotonic()
            return self._current

    def _walk(self, count: _Count) -> tuple[Measurement | None, bool]:
        was_stopped = False
        deadline = time.monotonic() + self._seconds
        rested_at = time.monotonic()

        def stop() -> bool:
            nonlocal was_stopped, rested_at
            if self._rest_seconds and time.monotonic() - rested_at > self._rest_seconds:
                time.sleep(self._rest_seconds)
                rested_at = time.monotonic()
            was_stopped = was_stopped or self._closed or time.monotonic() > deadline
            return was_stopped

        try:
            return count.walk(stop), was_stopped
        except NotFound:
            pass  # removed meanwhile
        except (OrlopError, OSError) as error:
            log.warning("%s is not measured: %s", count.subject, error)
        except Exception:
            log.exception("%s is not measured", count.subject)
        return None, False
