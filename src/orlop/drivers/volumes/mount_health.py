"""How a driver's mounts are: do they answer, and what."""

import errno
import os
import threading
from collections.abc import Collection
from pathlib import Path

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.kernel.mount_looks import MountLooks
from orlop.kernel.mounts import is_mount_point

HANGING_SECONDS = 4.0  # a busy machine may take its time
_STALE = (errno.ENOTCONN, errno.ESTALE, errno.ECONNABORTED)
_AWAY = (
    *(errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.EREMOTEIO),
)


class MountHealth:
    """Thread-safe."""

    def __init__(self) -> None:
        self._looks = MountLooks()
        self._lock = threading.Lock()
        self._paths: dict[str, str] = {}  # of the volumes that are looked at

    def health(self, name: str, path: Path) -> Health:
        """Of what is mounted there, never of what lies below."""
        if not is_mount_point(path):
            return Health(HealthState.STALE, "nothing is mounted there any more")
        return self.answer(name, path)

    def answer(self, name: str, path: Path) -> Health:
        """The same of a path that need not be a mount point."""
        with self._lock:
            self._paths[name] = str(path)
        answer = self._looks.look(str(path))
        if answer.waiting_seconds > HANGING_SECONDS:
            return Health(HealthState.HANGING, "it gives no answer")
        if answer.waiting_seconds:
            return Health(HealthState.UNKNOWN)
        if answer.errno in _STALE:
            return Health(HealthState.STALE, os.strerror(answer.errno))
        if answer.errno in _AWAY:
            return Health(HealthState.AWAY, os.strerror(answer.errno))
        return Health()

    def is_dead(self, path: Path) -> bool:
        """Whether a mount there has lost its server for good: what FUSE says of one, and nothing else does."""
        return is_mount_point(path) and self._looks.look(str(path)).errno == errno.ENOTCONN

    def watch_only(self, names: Collection[str]) -> None:
        with self._lock:
            self._paths = {name: path for name, path in self._paths.items() if name in names}
            paths = set(self._paths.values())
        self._looks.keep_only(paths)

    def close(self) -> None:
        self._looks.close()
