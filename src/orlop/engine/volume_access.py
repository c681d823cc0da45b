"""The data of a volume for the daemon itself: to be copied, packed or written to, under a use of its own.

All such work on a volume at a time is one use, by the same id in every run of the daemon: so what a crash left attached
can be let go at the next start. The volume's lock is not held meanwhile: it may be renamed or removed.
"""

import errno
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orlop.drivers.volumes.abilities import Fleeting, Independent
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.mounting import Mounting
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.errors import HostFailure, OrlopError
from orlop.kernel.foreign import foreign_mounts
from orlop.model.value import dataclass
from orlop.model.volume import Volume

log = logging.getLogger(__name__)

OUR_USE = hashlib.sha256(b"the daemon's own work on a volume").hexdigest()
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class OpenVolume:
    volume: Volume
    fd: int  # its top directory
    foreign: tuple[str, ...] = ()  # where somebody else's storage is mounted in it, which may not answer

    @property
    def is_read_only(self) -> bool:
        return bool(os.fstatvfs(self.fd).f_flag & os.ST_RDONLY)


class VolumeAccess:
    """Thread-safe. `attach` attaches a volume for a use and says where its data is; its caller holds the lock."""

    def __init__(
        self,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        attach: Callable[[Volume, str], Path],
        mounting: Mounting,
    ) -> None:
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._attach = attach
        self._mounting = mounting
        self.written: Callable[[str], None] = lambda volume_id: None  # told that its content may have changed
        self.left: Callable[[Volume, str], None] = lambda volume, use: None
        self._open: Counter[str] = Counter()  # by the volume's id, each under the lock of its name

    @contextmanager
    def open(self, name: str, only_looks: bool = False) -> Iterator[OpenVolume]:
        """Raises NoSuchVolume, and what attaching raises. Detached at the end whatever happens."""
        with ExitStack() as stack:
            with self._mounting.keeping([self._records.get(name).id]):
                volume, fd, foreign = self._enter(name)
                if not only_looks:
                    stack.callback(self.written, volume.id)
                stack.callback(self._leave, volume)
                stack.callback(os.close, fd)
            yield OpenVolume(volume, fd, foreign)

    def _enter(self, name: str) -> tuple[Volume, int, tuple[str, ...]]:
        """Between attaching and opening, where no lock is held, the volume may be renamed or removed: then it is looked
        up once more."""
        for may_have_moved in (True, True, False):
            with self._locks.hold([name]):
                volume = self._records.get(name)
                path = self._attach(volume, OUR_USE)
                self._open[volume.id] += 1
            try:
                return volume, os.open(path, _DIRECTORY), tuple(foreign_mounts(path))
            except OSError as error:
                self._leave(volume)
                if may_have_moved and error.errno == errno.ENOENT:
                    continue
                raise HostFailure(f"opening volume {volume.name}", f"{path}: {error.strerror}") from error
        raise AssertionError(name)

    def is_shared(self, volume_id: str) -> bool:
        """Whether more than one has it open."""
        return self._open[volume_id] > 1

    def vanishes(self, opened: OpenVolume) -> bool:
        """Whether what is written to it is gone when our work ends, because it is in memory and nobody else uses it."""
        driver = self._drivers.get(opened.volume.driver)
        return isinstance(driver, Fleeting) and driver.vanishes(self._find(opened.volume).name, OUR_USE)

    def is_open(self, volume_id: str) -> bool:
        """Whether the daemon is at work on it."""
        return self._open[volume_id] > 0

    def let_go(self) -> None:
        """At start: what a crash left attached. Only volumes with options can have anything mounted."""
        for volume in self._records.all():
            if volume.options and not isinstance(self._drivers.get(volume.driver), Independent):
                self._detach(volume)  # those know their uses by themselves, and nobody waits for them now

    def _leave(self, volume: Volume) -> None:
        current = self._find(volume)
        with self._locks.hold([current.name]):
            self._open[volume.id] -= 1
            if self._open[volume.id] <= 0:
                del self._open[volume.id]
                self._detach(self._find(volume))

    def _find(self, volume: Volume) -> Volume:
        """By the name that it has now."""
        named = self._records.find(volume.name)
        if named is not None and named.id == volume.id:
            return named
        return next((other for other in self._records.all() if other.id == volume.id), volume)

    def _detach(self, volume: Volume) -> None:
        """Failures are told: the work is done, or has an error of its own."""
        driver = self._drivers.get(volume.driver)
        try:
            if driver is not None:
                driver.detach(volume.name, OUR_USE)
            self.left(volume, OUR_USE)
        except (OrlopError, OSError) as error:
            log.error("detaching volume %s after work on it: %s", volume.name, error)
