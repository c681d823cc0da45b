"""Volumes between being attached and being mounted or opened: as long as that takes, the path that was handed out must
lead there, so they are not renamed."""

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Mounting:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._volumes: dict[str, set[str]] = {}  # by who is about to follow the paths, ids of volumes

    def begin(self, who: str, volume_id: str) -> None:
        with self._changed:
            self._volumes.setdefault(who, set()).add(volume_id)

    def end(self, who: str) -> None:
        """All of it. Nothing begun is success."""
        with self._changed:
            if self._volumes.pop(who, None) is not None:
                self._changed.notify_all()

    @contextmanager
    def keeping(self, volume_ids: Iterable[str]) -> Iterator[None]:
        """During the block the paths of these lead to them."""
        who = secrets.token_hex(8)
        try:
            for volume_id in volume_ids:
                self.begin(who, volume_id)
            yield
        finally:
            self.end(who)

    def is_under_way(self, volume_id: str) -> bool:
        with self._changed:
            return self._is_under_way(volume_id)

    def await_end(self, volume_id: str, seconds: float) -> None:
        """Until nobody is at it, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_under_way(volume_id), seconds)

    def _is_under_way(self, volume_id: str) -> bool:
        return any(volume_id in volumes for volumes in self._volumes.values())
