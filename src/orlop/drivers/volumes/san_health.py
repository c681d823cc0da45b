"""How a volume on a SAN is: does its program run, does the storage behind it answer, is the file system sound.

The kernel answers for a mounted disk from memory, however long the storage is gone. So a block of it is read, past that
memory: a small read each time, which cannot get in the way of what is being written.
"""

import os
from collections.abc import Collection

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.drivers.volumes.mount_health import HANGING_SECONDS, MountHealth
from orlop.drivers.volumes.san_ways import Chain
from orlop.drivers.volumes.volume_directory import VolumeDirectory
from orlop.errors import Unavailable
from orlop.kernel.mount_looks import READER, MountLooks
from orlop.kernel.mounts import is_mount_point

_ATTACH_SECONDS = 10.0


class SanHealth:
    """Thread-safe."""

    def __init__(self) -> None:
        self._mounts = MountHealth()
        self._devices = MountLooks(READER)
        self._disks: dict[str, str] = {}  # by the volume's name, of those that are looked at

    def health(self, volume: VolumeDirectory, chain: Chain) -> Health:
        if not chain.is_alive:
            return Health(HealthState.STALE, f"{chain.why_dead}; what is not written yet is lost")
        if not is_mount_point(volume.data_path):
            return Health(HealthState.STALE, "nothing is mounted there any more")
        disk = self._disks[volume.name] = chain.health_path
        answer = self._devices.look(disk)
        if answer.waiting_seconds > HANGING_SECONDS:
            chain.tend()
            return Health(HealthState.HANGING, "its device gives no answer")
        if answer.waiting_seconds:
            return Health(HealthState.UNKNOWN)
        if answer.errno:
            return Health(HealthState.AWAY, f"its device cannot be read: {os.strerror(answer.errno)}")
        return self._mounts.health(volume.name, volume.data_path)

    def require_answer(self, subject: str, chain: Chain) -> None:
        """Raises Unavailable where the storage of a device that is mounted gives none in time."""
        chain.tend()
        if self._devices.look(chain.health_path, _ATTACH_SECONDS).waiting_seconds:
            why = "its device gives no answer"
            raise Unavailable(subject, why, "Check that the storage runs and can be reached from here")

    def watch_only(self, names: Collection[str]) -> None:
        self._mounts.watch_only(names)
        self._disks = {name: disk for name, disk in self._disks.items() if name in names}
        self._devices.keep_only(set(self._disks.values()))

    def close(self) -> None:
        self._mounts.close()
        self._devices.close()
