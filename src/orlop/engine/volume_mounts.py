"""Volumes in use: attached for a container, let go of again, filled from its image."""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orlop.drivers.volumes.abilities import Fleeting, Independent, LastingUses
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.copyup import CopyUp
from orlop.engine.events import Events
from orlop.engine.mounting import Mounting
from orlop.engine.patience import require_storage
from orlop.engine.settling import Settler
from orlop.engine.subpaths import Subpaths
from orlop.engine.volume_facts import FactRecords
from orlop.engine.volume_health import MEND, check_identity, missing, problem_of
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_others import absent, no_such_driver
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_writing import VolumeWriting
from orlop.errors import HostFailure, NoSuchVolume, OrlopError, Unavailable, WriterElsewhere
from orlop.kernel.foreign import foreign_mounts
from orlop.kernel.mounts import mounts_at_or_below
from orlop.model.mount import Mount
from orlop.model.volume import Volume

log = logging.getLogger(__name__)


class VolumeMounts:
    """A mount names its volume as the container knows it, which may be a name the volume had before."""

    def __init__(
        self,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
        copyup: CopyUp,
        subpaths: Subpaths,
        facts: FactRecords,
        settler: Settler,
        shared: SharedVolumes,
        writing: VolumeWriting,
    ) -> None:
        self._writing = writing
        self._shared = shared
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._events = events
        self._copyup = copyup
        self._subpaths = subpaths
        self._facts = facts
        self._settler = settler
        self.mounting = Mounting()
        # Uses with the ids of their volumes, so that `unmount` is told only of what was mounted.
        self._attached: dict[str, str] = {}
        self._leaving: set[str] = set()  # of these, those whose mount may be gone at any moment
        self._visits: dict[str, str] = {}  # uses for another purpose than a container's process: ids of their volumes

    def attach(self, mount: Mount, container_id: str, purpose: str = "") -> Path:
        """Host path of the mount's data (its subpath, if it has one); emits `mount`. Raises HostFailure rather than
        give a container other data than its own. Each purpose is a use of its own; "" is the container's process."""
        use = use_id(mount, container_id, purpose)
        with self._records.redactor.hiding(), self._locks.hold([mount.volume]):
            self._records.gates.check_container(mount.volume, self._records.find(mount.volume), container_id)
            volume = self._records.get(mount.volume)
            path = self.attach_data(volume, use, container_id, mount.wait_seconds)
            if mount.subpath:
                path = self._subpaths.pin(path, mount.subpath, use)
            self._attached[use] = volume.id
            if purpose:
                self._visits[use] = volume.id
            else:
                self.mounting.begin(container_id, volume.id)
        if not purpose:
            self._facts.mounted(volume.id, container_id)
            self._shared.note_running(volume, container_id, True)
        attributes = {
            "driver": volume.driver,
            "container": container_id,
            "destination": mount.destination,
            "read/write": "false" if mount.read_only else "true",
            "propagation": mount.propagation,
        }
        self._events.publish("volume", "mount", volume.name, attributes)
        return path

    def attach_data(self, volume: Volume, use: str, container_id: str = "", wait_seconds: float = 0.0) -> Path:
        """The caller holds the volume's lock. Write access that another host has is waited for so long."""
        self._records.gates.check(f"attach {volume.name}", volume)
        driver = self._drivers.get(volume.driver)
        if driver is None:
            missing_driver = no_such_driver(f"attach {volume.name}", volume.driver, tuple(self._drivers))
            # Not as "not found": whoever can wait tries again.
            raise Unavailable(missing_driver.subject, missing_driver.why, missing_driver.hint)
        self._settler.ensure(volume.name)
        deadline = time.monotonic() + wait_seconds
        while True:
            self._writing.begin(volume, use, container_id, max(0.0, deadline - time.monotonic()))
            try:
                return self._attach_to(driver, volume, use)
            except BaseException as error:
                is_over = time.monotonic() >= deadline or not self._writing.is_lost(volume)
                self._writing.end(volume, use)
                if is_over or not isinstance(error, OrlopError):
                    raise
                log.warning("volume %s: write access was lost while it was attached; waiting for it again", volume.name)

    def _attach_to(self, driver: VolumeDriver, volume: Volume, use: str) -> Path:
        try:
            check_identity(driver, volume)
            path = self._attach(volume, driver, use)
        except NoSuchVolume as error:
            why = absent(volume) if isinstance(driver, Independent) else missing(volume)
            self._records.mark(volume.name, why)
            raise HostFailure(f"attaching volume {volume.name}", why, MEND) from error
        except (OrlopError, OSError) as error:
            independent = isinstance(driver, Independent) and isinstance(error, OrlopError)
            self._records.mark(volume.name, error.why if independent else problem_of(driver, volume))  # type: ignore[union-attr]
            raise
        self._records.mark(volume.name, "")
        try:
            if isinstance(driver, Independent):
                _require_place(volume, path)
                self._records.place(volume.name, str(path), 0)
            else:
                self.require_answer(volume, path)
        except (Unavailable, HostFailure):
            driver.detach(volume.name, use)
            raise
        return path

    def _attach(self, volume: Volume, driver: VolumeDriver, use: str) -> Path:
        """Of a volume of the cluster, the storage that all its hosts have."""
        self._shared.before_attach(volume, driver)
        path = driver.attach(volume.name, use)
        try:
            if self._shared.is_the_one(volume, driver):
                return path
        except BaseException:
            driver.detach(volume.name, use)
            raise
        driver.detach(volume.name, use)  # another host saw what it has at the same moment, and was faster to tell
        self._shared.before_attach(volume, driver)
        return driver.attach(volume.name, use)

    @staticmethod
    def require_answer(volume: Volume, path: Path) -> None:
        """Of what is mounted on a volume, where it is not of this host: whoever attached it is going to look at it."""
        if mounts_at_or_below(path) and foreign_mounts(path):
            require_storage(f"attaching volume {volume.name}", path)

    def pin_again(self, path: Path, mount: Mount, container_id: str) -> Path:
        """Where the mount's part of the volume is, once the volume was mounted anew. The caller holds its lock."""
        return self._subpaths.pin(path, mount.subpath, use_id(mount, container_id))

    def is_visited(self, volume_id: str) -> bool:
        """Whether it is attached for something else than containers' processes: files are copied in or out."""
        return volume_id in list(self._visits.values())

    def place_of(self, path: Path, mount: Mount, container_id: str) -> Path:
        """Where the mount's part of the volume is, which is attached at `path`."""
        return self._subpaths.place(use_id(mount, container_id)) if mount.subpath else path

    @contextmanager
    def leaving(self, uses: Iterable[str]) -> Iterator[None]:
        """During the block nobody takes what these have mounted for dead."""
        mine = set(uses) - self._leaving
        self._leaving |= mine
        try:
            yield
        finally:
            self._leaving -= mine

    def unpin(self, mount: Mount, container_id: str) -> None:
        if mount.subpath:
            self._subpaths.unpin(use_id(mount, container_id))

    def is_attached(self, mount: Mount, container_id: str) -> bool:
        """Whether the container's process has it, and is not about to let go of it."""
        use = use_id(mount, container_id)
        return use in self._attached and use not in self._leaving

    def is_used(self, volume_id: str) -> bool:
        """By containers: their processes, or somebody who works on their files."""
        return volume_id in list(self._attached.values()) or self.mounting.is_under_way(volume_id)

    def remember_attached(self, mount: Mount, container_id: str) -> None:
        """At start: the container runs on, with this volume attached by the daemon before us."""
        use = use_id(mount, container_id)
        volume = self._records.find(mount.volume)
        self._attached[use] = volume.id if volume else ""
        if volume is not None:
            self._writing.remember(volume, use)

    def detach_others(self) -> None:
        """At start, once all running containers are remembered."""
        self._subpaths.unpin_others(self._attached)
        for driver in self._drivers.values():
            if isinstance(driver, LastingUses):
                try:
                    driver.detach_others(self._attached)
                except (OrlopError, OSError) as error:
                    log.warning("volumes that a crash left attached stay so: %s", error)

    def detach(self, mount: Mount, container_id: str, purpose: str = "") -> None:
        use = use_id(mount, container_id, purpose)
        if not purpose:
            self.mounting.end(container_id)
        with self._locks.hold([mount.volume]):
            volume = self._records.find(mount.volume)
            name = volume.name if volume else mount.volume
            if mount.subpath:
                self._subpaths.unpin(use)
            driver_name = volume.driver if volume else mount.driver
            driver = self._drivers.get(driver_name)
            self._leaving.add(use)
            try:
                if driver is not None:
                    driver.detach(name, use)
            finally:
                self._leaving.discard(use)
                self._visits.pop(use, None)
                if volume is not None:
                    self._writing.end(volume, use)
            if use not in self._attached:
                return
            del self._attached[use]
        if volume is not None:
            if purpose:
                self._facts.changed(volume.id)
            else:
                self._facts.unmounted(volume.id)
                self._shared.note_running(volume, container_id, False)
        attributes = {"driver": driver_name, "container": container_id}
        self._events.publish("volume", "unmount", name, attributes)

    def vanishes(self, mount: Mount, container_id: str, purpose: str) -> bool:
        """Whether what is in the volume is gone when this use of it ends: it is in memory, and nobody else has it."""
        volume = self._records.find(mount.volume)
        driver = self._drivers.get(volume.driver if volume else mount.driver)
        use = use_id(mount, container_id, purpose)
        return isinstance(driver, Fleeting) and driver.vanishes(self._records.real_name(mount.volume), use)

    def populate(self, name: str, source_root: Path, source_path: str, subpath: str = "") -> None:
        """Copy the image's content at `source_path` (resolved beneath `source_root`) into an empty volume, or into an
        empty part of one."""
        with self._locks.hold([name]):
            volume = self._records.get(name)
            self._records.gates.check(f"populate {volume.name}", volume)
            self._settler.ensure(volume.name)
            in_use = len(self._records.holders(name)) > 1
            use = hashlib.sha256(f"populate {volume.id}".encode()).hexdigest()
            try:
                self._writing.begin(volume, use)
            except WriterElsewhere:
                return  # another host writes to it: what is in it is for that one to say
            try:
                if driver := self._drivers.get(volume.driver):
                    self._shared.before_attach(volume, driver)
                self._copyup.populate(volume, source_root, source_path, in_use, subpath)
            finally:
                self._writing.end(volume, use)
        self._facts.changed(volume.id)


def _require_place(volume: Volume, path: Path) -> None:
    """Where somebody else's driver says that a volume is, there is something, and it answers."""
    if not require_storage(f"attaching volume {volume.name}", path):
        why = f"its driver {volume.driver} says that it is at {path}, where nothing is"
        raise HostFailure(f"error while mounting volume {volume.name}", why, "Look at the log of the plugin")


def use_id(mount: Mount, container_id: str, purpose: str = "") -> str:
    """One container may mount one volume at several places: each is a use of its own."""
    return hashlib.sha256(f"{container_id}:{mount.destination}:{purpose}".rstrip(":").encode()).hexdigest()
