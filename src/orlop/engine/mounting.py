"""Volumes between being attached and being mounted in a container: as long as that takes, the path that was handed out
must lead there, so they are not renamed."""

import threading
from collections.abc import Iterable


class Mounting:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._volumes: dict[str, set[str]] = {}  # by container, ids of volumes

    def begin(self, container_id: str, volume_id: str) -> None:
        with self._changed:
            self._volumes.setdefault(container_id, set()).add(volume_id)

    def end(self, container_id: str) -> None:
        """Its volumes are mounted, or will not be. Nothing begun is success."""
        with self._changed:
            if self._volumes.pop(container_id, None) is not None:
                self._changed.notify_all()

    def containers_of(self, volume_id: str) -> list[str]:
        """Those that are just getting it."""
        with self._changed:
            return [container for container, volumes in self._volumes.items() if volume_id in volumes]

    def await_end(self, container_ids: Iterable[str], seconds: float) -> None:
        """Until one of them has what it needs, or the time is over."""
        waited_for = list(container_ids)
        with self._changed:
            self._changed.wait_for(lambda: not all(self._volumes.get(each) for each in waited_for), seconds)
