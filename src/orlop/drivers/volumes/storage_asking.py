"""Does the storage behind a mount answer? Asked in the background again and again, as long as somebody wants to know.

A program that mounts may answer from memory long after its storage has gone. Whoever asks the storage may have to wait
for it, so nobody waits for them: `health` tells what is known.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import field

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.drivers.volumes.mount_health import HANGING_SECONDS
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 5.0
_AT_ONCE = 8


@dataclass(slots=True)
class _Known:
    health: Health = field(default_factory=lambda: Health(HealthState.UNKNOWN))
    next_at: float = 0.0
    asked_at: float = 0.0  # 0: nobody waits for an answer now


class StorageAsking:
    """Thread-safe. `ask` of a volume gives its health, in good time: it is never interrupted."""

    def __init__(self, pause_seconds: float = _PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._asking = 0

    def health(self, name: str, ask: Callable[[], Health]) -> Health:
        with self._lock:
            known = self._known.setdefault(name, _Known())
            now = self._clock()
            if not known.asked_at and now >= known.next_at and self._asking < _AT_ONCE:
                known.asked_at = now
                self._asking += 1
                # One that can be left behind: the end of the daemon does not wait for storage.
                threading.Thread(target=self._ask, args=(known, ask), name=f"asking for {name}", daemon=True).start()
            is_silent = known.asked_at and now - known.asked_at > HANGING_SECONDS
            if is_silent and known.health.state in (HealthState.OK, HealthState.UNKNOWN):
                return Health(HealthState.HANGING, "its storage gives no answer")
            return known.health

    def _ask(self, known: _Known, ask: Callable[[], Health]) -> None:
        found = Health(HealthState.UNKNOWN)
        try:
            found = ask()
        except Exception:
            log.exception("asking the storage of a volume")
        with self._lock:
            known.health = found
            known.asked_at = 0.0
            self._asking -= 1
            known.next_at = self._clock() + self._pause_seconds

    def forget(self, name: str) -> None:
        """What was known holds no more: it is mounted anew."""
        with self._lock:
            self._known.pop(name, None)

    def keep_only(self, names: Collection[str]) -> None:
        with self._lock:
            for name in [known for known in self._known if known not in names]:
                del self._known[name]
