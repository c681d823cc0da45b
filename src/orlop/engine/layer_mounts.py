"""Who needs a container's file system mounted: its process, and for moments cp, export, commit.

The layer driver mounts once however often it is asked, so somebody has to count. The count lives in memory: after a
restart `adopt` says which containers still run, and recovery unmounts the rest.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orlop.drivers.layers.driver import LayerDriver


class LayerMounts:
    """Thread-safe; one lock a layer, so that a slow mount holds up nobody else's."""

    def __init__(self, layers: LayerDriver) -> None:
        self._layers = layers
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._users: dict[str, set[str]] = {}

    def acquire(self, layer_id: str, user: str) -> Path:
        """The mounted tree; `user` names who needs it, and asking twice under one name counts once."""
        with self._lock_of(layer_id):
            path = self._layers.mount(layer_id)
            self._users.setdefault(layer_id, set()).add(user)
            return path

    def release(self, layer_id: str, user: str) -> None:
        """The last one out unmounts. Releasing what was not acquired unmounts too when nobody else needs it: that is
        how recovery puts away what a crash left."""
        with self._lock_of(layer_id):
            users = self._users.get(layer_id, set())
            users.discard(user)
            if not users:
                self._users.pop(layer_id, None)
                self._layers.unmount(layer_id)

    def evict(self, layer_id: str) -> None:
        """The layer is about to be removed: it is unmounted whoever uses it. A copy going on keeps what it has open and
        ends with an error; waiting for a client that does not read would leave the removal half done."""
        with self._lock_of(layer_id):
            self._users.pop(layer_id, None)
            self._layers.unmount(layer_id)

    @contextmanager
    def mounted(self, layer_id: str, user: str) -> Iterator[Path]:
        path = self.acquire(layer_id, user)
        try:
            yield path
        finally:
            self.release(layer_id, user)

    def _lock_of(self, layer_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(layer_id, threading.Lock())

    def forget(self, layer_id: str) -> None:
        """The layer was removed."""
        with self._guard:
            self._locks.pop(layer_id, None)
