"""The stream of events: the last 256 kept for `since`, every new one handed to each listener."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from orlop.model.event import Event

KEPT = 256

Listener = Callable[[Event], None]


class Events:
    """Thread-safe. Listeners are called from the publishing thread and must not block: they hand the event on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    def publish(self, kind: str, action: str, subject: str, attributes: Mapping[str, str] | None = None) -> None:
        with self._lock:
            event = Event(kind, action, subject, time.time_ns(), dict(attributes or {}))
            self._kept.append(event)
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener(event)

    def subscribe(self, listener: Listener, since_ns: int | None = None) -> tuple[int, list[Event]]:
        """Start listening; with `since_ns` also the kept events from then on. Returns a token for `unsubscribe`."""
        with self._lock:
            self._next += 1
            self._listeners[self._next] = listener
            past = [] if since_ns is None else [event for event in self._kept if event.at_ns >= since_ns]
            return self._next, past

    def unsubscribe(self, token: int) -> None:
        with self._lock:
            self._listeners.pop(token, None)
