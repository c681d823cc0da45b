"""When a container is started again: by its policy after an exit, and until storage that is away answers.

Each time in a row later; one that has run for a while begins anew. Who holds the container's lock asks.
"""

import threading
import time
from collections.abc import Callable

from orlop.drivers.runtimes.driver import Exit
from orlop.engine.endings import is_restarted
from orlop.model.container import Container

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 60
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 15.0
_PATIENCE_SECONDS = 24 * 3600.0  # with what a start by policy needs and does not answer
_STABLE_SECONDS = 10  # having run for so long, the next restart is quick again


class Restarts:
    """`start` is called with a container's id when its time has come, in a thread of its own."""

    def __init__(self, start: Callable[[str], None]) -> None:
        self._start = start
        self._timers: dict[str, threading.Timer] = {}
        self._delays: dict[str, float] = {}
        self._awaited_since: dict[str, float] = {}  # containers that wait for something that does not answer
        self.are_held = False  # while the daemon puts in order what an earlier one left
        self.are_over = False

    def delay_after(self, container: Container, exit_: Exit) -> float | None:
        """Seconds until the policy starts it again, None when it does not."""
        status = container.status
        if status.comes_back:
            return 0.0
        if self.are_over or not is_restarted(container, exit_.exit_code):
            return None
        ran_seconds = (exit_.at_ns - status.started_at_ns) / 1e9
        previous = 0.0 if ran_seconds > _STABLE_SECONDS else self._delays.get(container.id, 0.0)
        delay = min(previous * 2, _LONGEST_DELAY_SECONDS) if previous else _FIRST_DELAY_SECONDS
        self._delays[container.id] = delay
        return delay

    def delay_until_it_answers(self, container_id: str, since: float | None = None) -> float | None:
        """Seconds until the next try of what needs something that is away; None when that was long enough. `since`
        is what `cancel` said of the tries before."""
        began = self._awaited_since.setdefault(container_id, time.monotonic() if since is None else since)
        if self.are_over or time.monotonic() - began > _PATIENCE_SECONDS:
            del self._awaited_since[container_id]
            return None
        delay = min(max(self._delays.get(container_id, 0.0) * 2, _FIRST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
        self._delays[container_id] = delay
        return delay

    def answered(self, container_id: str) -> None:
        self._awaited_since.pop(container_id, None)

    def start_later(self, container_id: str, delay_seconds: float) -> None:
        if self.are_held:
            return
        timer = threading.Timer(delay_seconds, self._start_now, (container_id,))
        timer.daemon = True
        self._timers[container_id] = timer
        timer.start()

    def _start_now(self, container_id: str) -> None:
        self._timers.pop(container_id, None)
        self._start(container_id)

    def cancel(self, container_id: str) -> float | None:
        """Since when it waited for something that does not answer; None where it did not."""
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        self._delays.pop(container_id, None)
        return self._awaited_since.pop(container_id, None)

    def close(self) -> None:
        self.are_over = True
        for timer in list(self._timers.values()):
            timer.cancel()
