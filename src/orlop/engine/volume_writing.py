"""This host's write access to volumes that one host at a time may write (`access=rwo`).

    first use     access acquired, the driver tied to its leash, attached
    last use      detached, nothing reaches the storage any more, access given back
    lost          containers frozen, storage cut off; only then may another host have it. Then they are killed, and
                  start again by their restart policy, which waits for the access

Whatever is in doubt counts as no access: a shared volume that the catalogue does not name now, a daemon without a
cluster, an answer that was lost. Uses by the daemon itself (copies, archives) are uses like others. What this host has
written to since before it joined goes on without a lease, and is bound to it in the catalogue: nobody else gets it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Leashed, scope_of
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.standstill import Standstill
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import GLOBAL, SharedVolumes, coming_elsewhere
from orlop.errors import OrlopError, Unavailable, WriterElsewhere
from orlop.model.cluster import Access, GlobalVolume, Writer
from orlop.model.container import Container
from orlop.model.mount import MountKind
from orlop.model.volume import Volume, is_hidden_target

log = logging.getLogger(__name__)

_FREEZE_SECONDS = 1.0
_FLUSH_SECONDS = 3.0
_LOOK_SECONDS = 1.0
_UNUSED_SECONDS = 60.0
_AT_ONCE = 8
BOUND = "is written to by containers that ran before this host joined: no other host gets it before they have stopped"


class VolumeWriting:
    """Thread-safe. `begin` and `end` are called with the volume's lock, before it is attached and after it was
    detached."""

    def __init__(
        self,
        writers: Cluster | None,
        shared: SharedVolumes,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
    ) -> None:
        self._locks = locks
        self._writers = writers
        self._shared = shared
        self._records = records
        self._drivers = drivers
        self._lock = threading.Lock()
        self._uses: dict[str, set[str]] = {}  # by the volume's id
        self._targets: dict[str, tuple[Leashed, list[str]]] = {}  # of moves under way, likewise, with their names
        self._is_ready = threading.Event()
        self._closed = threading.Event()
        # Set by the composition root.
        self.containers: Callable[[], Iterable[Container]] = list
        self.standstill: Standstill | None = None
        self.name_of: Callable[[str], str] = lambda container_id: container_id[:12]
        self.end_container: Callable[[str], bool] = lambda container_id: True
        if writers is not None:
            writers.on_lost(self.lost)

    # Uses

    def begin(self, volume: Volume, use: str, container_id: str = "", wait_seconds: float = 0.0) -> None:
        """Raises WriterElsewhere, Unavailable."""
        self._refuse_unleashed(volume)
        if not self._is_written_by_one(volume):
            return
        driver, writers, entry = self._drivers[volume.driver], self._writers, self._entry(volume)
        assert writers is not None and isinstance(driver, Leashed)
        if entry.coming not in ("", writers.node):
            raise coming_elsewhere(entry)
        if entry.bound:
            if entry.bound == writers.node and driver.is_reached(volume.name):
                return  # as those who have it: they, too, use what was mounted before there was a lease
            self._unbind(entry)
        for twin in self._shared.twins(entry):  # made at the same moment, or by an older version
            if writers.writer(twin.id) or self._shared.bound_to(twin):
                why = f"its storage is that of the volume {twin.name} too, which is being written to"
                raise WriterElsewhere(
                    f"volume {volume.name}", why, f"Remove one of them; see: orlop volume where {twin.name}"
                )
        with self._lock:
            is_first = not self._uses.get(volume.id)
        names = [self.name_of(container_id)] if container_id else []
        self._acquire(entry, driver, volume.name, names, wait_seconds, is_first)
        with self._lock:
            self._uses.setdefault(volume.id, set()).add(use)

    def _acquire(
        self, entry: GlobalVolume, driver: Leashed, name: str, names: Sequence[str], wait_seconds: float, is_first: bool
    ) -> None:
        """`name` is the one that the driver knows it by."""
        writers = self._writers
        assert writers is not None
        try:
            writer = writers.acquire(entry, names, wait_seconds)
            leash = writers.leash(entry.id)
            if leash is None:
                raise Unavailable(f"write to {entry.name}", "write access was lost at once", "Try again")
            driver.tie(name, leash, writer.epoch)
        except BaseException:
            if is_first:
                writers.release(entry.id)
            raise

    def is_lost(self, volume: Volume) -> bool:
        """Whether it is written by one host, and this one has no access to it now, or not for long."""
        return self._writers is not None and self._is_written_by_one(volume) and volume.id not in self._writers.held()

    def _refuse_unleashed(self, volume: Volume) -> None:
        """What the cluster does not know, and another host could write to all the same."""
        driver = self._drivers.get(volume.driver)
        if self._writers is None or volume.is_shared or not isinstance(driver, Leashed):
            return
        if scope_of(driver, volume.options) == GLOBAL and self._shared.access_of(volume) is Access.RWO:
            why = self._shared.remarks.get(volume.id) or "the cluster does not know it"
            why = f"its storage may have a writer on another host, and it has no part in their leases: {why}"
            hint = (
                "Give it a name that is free in the cluster and options without a secret: orlop volume rename, update"
            )
            raise Unavailable(f"write to {volume.name}", why, hint)

    def _unbind(self, entry: GlobalVolume) -> None:
        """Raises WriterElsewhere, Unavailable."""
        writers, node = self._writers, self._shared.bound_to(entry)
        assert writers is not None
        if node and node != writers.node:
            raise bound_elsewhere(entry)
        writers.unbind(entry)
        self._shared.remarks.pop(entry.id, None)

    def end(self, volume: Volume, use: str) -> None:
        """Never raises: what cannot be ended keeps its access until it can."""
        entry = self._shared.find(volume.name) if volume.is_shared else None
        if entry is not None and entry.id == volume.id and self._is_ours_unleashed(entry):
            self._unbind_unused(volume, entry)
            return
        with self._lock:
            uses = self._uses.get(volume.id)
            if uses is None or use not in uses:
                return
            uses.discard(use)
            if uses:
                return
            del self._uses[volume.id]
        self._give_back(volume)

    # The target of a move, which its driver has under a hidden name until it is the volume

    def begin_target(self, moved: Volume, hidden: str) -> None:
        """Before it is attached. `moved` is announced (volume_coming). Raises WriterElsewhere, Unavailable."""
        if self._is_written_by_one(moved):
            driver = self._drivers[moved.driver]
            assert isinstance(driver, Leashed)
            with self._lock:
                self._targets[moved.id] = (driver, [hidden])
            try:
                self._acquire(self._entry(moved), driver, hidden, [], 0.0, is_first=True)
            except BaseException:
                del self._targets[moved.id]
                raise

    def name_target(self, moved: Volume) -> None:
        """Its driver is about to give it the volume's name."""
        if (target := self._targets.get(moved.id)) is not None:
            target[1].append(moved.name)

    def require_target(self, moved: Volume) -> None:
        """Right before it becomes the volume. Raises Unavailable where write access was lost meanwhile."""
        if moved.id in self._targets and self._writers is not None and moved.id not in self._writers.held():
            raise Unavailable(f"move {moved.name}", "this host lost its write access to the target", "Try again")

    def keep_target(self, moved: Volume, uses: Iterable[str]) -> None:
        """It is the volume, and these have it."""
        with self._lock:
            if self._targets.pop(moved.id, None) is None:
                return
            self._uses[moved.id] = set(uses)
        driver, held = self._drivers[moved.driver], self._writers.held() if self._writers is not None else {}
        leash = self._writers.leash(moved.id) if self._writers is not None else None
        if moved.id in held and leash is not None and isinstance(driver, Leashed):
            driver.tie(moved.name, leash, held[moved.id].epoch)
        else:
            threading.Thread(target=self.lost, args=(moved.id,), name="write access", daemon=True).start()

    def end_target(self, moved: Volume) -> None:
        """It was detached, and does not become the volume. Never raises: what may still write keeps its access."""
        if moved.id not in self._targets or self._writers is None:
            return
        try:
            self._cut_target(moved.id)
        except (OrlopError, OSError) as error:
            log.error("move %s: this host keeps its write access to the target: %s", moved.name, error)
            return
        with self._lock:
            del self._targets[moved.id]
        self._writers.release(moved.id)

    def _cut_target(self, volume_id: str) -> None:
        driver, names = self._targets[volume_id]
        for name in (*names, names[0]):  # it may be renamed meanwhile, forth or back
            driver.cut(name, 0)

    def may_write(self, volume_id: str) -> bool:
        """Whether something of this host may still write to it, by a lease."""
        is_held = self._writers is not None and self._writers.leash(volume_id) is not None
        return is_held or volume_id in self._targets

    def _is_ours_unleashed(self, entry: GlobalVolume) -> bool:
        return bool(entry.bound) and self._writers is not None and entry.bound == self._writers.node

    def unbind_unused(self, volume: Volume) -> None:
        """Of this host, with the volume's lock. Never raises."""
        entry = self._shared.find(volume.name)
        if entry is not None and entry.id == volume.id and self._is_ours_unleashed(entry):
            self._unbind_unused(volume, entry)

    def _unbind_unused(self, volume: Volume, entry: GlobalVolume) -> None:
        driver = self._drivers.get(volume.driver)
        if not isinstance(driver, Leashed) or driver.is_reached(volume.name):
            return
        try:
            self._unbind(entry)
        except OrlopError as error:
            log.warning("volume %s stays bound to this host until it is used again: %s", volume.name, error)

    def _give_back(self, volume: Volume) -> None:
        driver = self._drivers.get(volume.driver)
        if self._writers is None or not isinstance(driver, Leashed):
            return
        if driver.is_reached(volume.name):
            # Its storage does not answer, and what was written last is not there yet.
            name = f"write access to {volume.name}"
            threading.Thread(target=self._give_back_later, args=(volume, driver), name=name, daemon=True).start()
            return
        try:
            driver.cut(volume.name, 0)
        except (OrlopError, OSError) as error:
            log.error("volume %s: this host keeps its write access: %s", volume.name, error)
            return
        self._writers.release(volume.id)

    def _give_back_later(self, volume: Volume, driver: Leashed) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            with self._locks.hold([volume.name]):
                if self._uses.get(volume.id):
                    return
                if not driver.is_reached(volume.name):
                    self._give_back(volume)
                    return

    def close(self) -> None:
        self._closed.set()

    def _is_written_by_one(self, volume: Volume) -> bool:
        driver = self._drivers.get(volume.driver)
        if not volume.is_shared or not isinstance(driver, Leashed):
            return False
        return self._shared.access_of(volume) is Access.RWO

    def _entry(self, volume: Volume) -> GlobalVolume:
        subject = f"write to {volume.name}"
        self._shared.required(subject)
        entry = self._shared.find(volume.name)
        if entry is None or entry.id != volume.id:
            raise Unavailable(subject, "the cluster does not know it now", "Look at: docker volume inspect")
        return entry

    # Start

    def remember(self, volume: Volume, use: str) -> None:
        """At start: a container that runs on has it."""
        entry = self._shared.find(volume.name)
        if entry is not None and self._is_ours_unleashed(entry):
            self._shared.remarks[volume.id] = BOUND
        elif self._is_written_by_one(volume):
            with self._lock:
                self._uses.setdefault(volume.id, set()).add(use)

    def start(self) -> None:
        """Once all that runs on is remembered: what the daemon before this one had is gone on with, given back where
        nobody needs it, and let go of where its time is over."""
        if self._writers is None:
            return
        held: Mapping[str, Writer] = self._writers.held()
        by_id = {volume.id: volume for volume in self._records.all()}
        self._is_ready.set()
        for volume_id in held:
            volume, leash = by_id.get(volume_id), self._writers.leash(volume_id)
            driver = self._drivers.get(volume.driver) if volume else None
            if volume is None or volume_id not in self._uses:
                if volume is not None and not isinstance(driver, Leashed):
                    self._give_back_target(volume)
                elif volume is not None:
                    self._give_back(volume)
                else:
                    self._writers.release(volume_id)
            elif leash is not None and isinstance(driver, Leashed):
                driver.tie(volume.name, leash, held[volume_id].epoch)
        for volume_id in [known for known in self._uses if known not in held]:
            threading.Thread(target=self.lost, args=(volume_id,), name="write access", daemon=True).start()

    def _give_back_target(self, volume: Volume) -> None:
        """The daemon before this one was moving it to storage with one writer, and did not come to the end."""
        try:
            self._cut_left(volume)
        except (OrlopError, OSError) as error:
            log.error("volume %s: this host keeps its write access: %s", volume.name, error)
            return
        if self._writers is not None:
            self._writers.release(volume.id)

    def _cut_left(self, volume: Volume) -> None:
        """What that move left attached, because it could not be undone."""
        for driver in self._drivers.values():
            if isinstance(driver, Leashed):
                for found in driver.list_volumes():
                    if is_hidden_target(found.name, volume.name):
                        driver.cut(found.name, 0)

    # Lost, and taken

    def take_over(self, name: str) -> Writer:
        """It is kept for a minute, and then for as long as somebody here uses it. Raises Unavailable."""
        subject = f"take over {name}"
        self._shared.required(subject)
        entry = self._shared.find(name)
        if entry is None or self._writers is None:
            raise Unavailable(subject, "it is no volume of the cluster", "Look at: docker volume ls")
        if entry.access is not Access.RWO:
            raise Unavailable(subject, "all hosts may use it at once", "Use it: there is nothing to take over")
        if entry.coming:
            raise coming_elsewhere(entry)
        if self._shared.bound_to(entry):
            raise bound_elsewhere(entry)
        writer = self._writers.take_over(entry)
        threading.Thread(target=self._give_back_unused, args=(entry,), name=f"taken {name}", daemon=True).start()
        return writer

    def _give_back_unused(self, entry: GlobalVolume) -> None:
        """What was taken over and is then used by nobody here."""
        if self._closed.wait(_UNUSED_SECONDS):
            return
        with self._locks.hold([entry.name]):
            if self._writers is not None and not self._uses.get(entry.id):
                volume = self._records.find(entry.name)
                if volume is not None and volume.id == entry.id:
                    self._give_back(volume)
                else:
                    self._writers.release(entry.id)

    def lost(self, volume_id: str) -> None:
        """When this returns nothing can be written to its storage from here. Raises where that is not certain."""
        self._is_ready.wait()
        if volume_id in self._targets:  # nobody has it but the move, which fails now
            log.error("write access to the target of a move is lost: it is cut off")
            self._cut_target(volume_id)
            return
        volume = next((each for each in self._records.all() if each.id == volume_id), None)
        driver = self._drivers.get(volume.driver) if volume is not None else None
        if volume is not None and not isinstance(driver, Leashed):
            self._cut_left(volume)
        if volume is None or not isinstance(driver, Leashed):
            return
        users = self._users(volume)
        log.error("volume %s: write access is lost; %d containers of it are ended", volume.name, len(users))
        self._freeze(volume, users)
        try:
            driver.cut(volume.name, self._flush_seconds(volume_id))
        finally:
            threading.Thread(target=self._end, args=(users,), name=f"ending {volume.name}", daemon=True).start()

    def _users(self, volume: Volume) -> list[Container]:
        names = (volume.name, *volume.aliases)
        return [
            container
            for container in self.containers()
            if container.is_running
            and any(mount.kind is MountKind.VOLUME and mount.volume in names for mount in container.mounts)
        ]

    def _freeze(self, volume: Volume, users: Iterable[Container]) -> None:
        """So that nobody takes an error of the storage for an answer. Not waited for long: what counts is the cut."""
        standstill = self.standstill
        if standstill is None:
            return
        pool = ThreadPoolExecutor(_AT_ONCE, "freezing")
        why = f"this host lost its write access to volume {volume.name}"
        wait([pool.submit(standstill.begin, each.id, why) for each in users], _FREEZE_SECONDS)
        pool.shutdown(wait=False, cancel_futures=True)

    def _flush_seconds(self, volume_id: str) -> float:
        """A third of the time that is left for writing out what was not synced."""
        leash = self._writers.leash(volume_id) if self._writers is not None else None
        if leash is None:
            return 0.0
        with suppress(OSError, ValueError):
            left = (int(leash.read_text()) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9
            return max(0.0, min(_FLUSH_SECONDS, left / 3))
        return 0.0

    def _end(self, users: Iterable[Container]) -> None:
        with ThreadPoolExecutor(_AT_ONCE, "ending") as pool:
            for container in users:
                pool.submit(self._end_one, container)

    def _end_one(self, container: Container) -> None:
        try:
            if not self.end_container(container.id):
                log.error("container %s does not end although its storage was cut off", container.name)
        except OrlopError as error:
            log.warning("ending container %s: %s", container.name, error)


def bound_elsewhere(entry: GlobalVolume) -> WriterElsewhere:
    """It has no lease that would end, and nothing there lets go when it is told to."""
    why = f"node {entry.bound} writes to it since before it joined the cluster"
    hint = f"Stop its containers there; if that host is gone for good: orlop node rm {entry.bound}"
    return WriterElsewhere(f"volume {entry.name}", why, hint)
