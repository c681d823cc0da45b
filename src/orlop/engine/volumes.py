"""Volumes: create, find, hold, use, remove.

This is the front; the work is in volume_mounts (attached for containers), volume_holds (held by them), volume_changes
(renamed, updated), volume_moves (to other storage), volume_removal and retirement (gone, and back), volume_reconcile
(the start), volume_access (what the daemon itself does with the data) and volume_copies.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Independent, Staging, Usage
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.copyup import CopyUp
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.mount_holders import MountHolders
from orlop.engine.redactor import Redactor
from orlop.engine.retirement import Retirements
from orlop.engine.settling import Settler
from orlop.engine.subpaths import Subpaths
from orlop.engine.volume_access import VolumeAccess
from orlop.engine.volume_adoption import VolumeAdoption
from orlop.engine.volume_archives import VolumeArchives
from orlop.engine.volume_arrivals import VolumeArrivals
from orlop.engine.volume_change_steps import VolumeChangeSteps
from orlop.engine.volume_changes import VolumeChanges
from orlop.engine.volume_copies import VolumeCopies
from orlop.engine.volume_creation import VolumeCreation
from orlop.engine.volume_departure_end import DepartureEnds
from orlop.engine.volume_departures import VolumeDepartures
from orlop.engine.volume_facts import FactRecords
from orlop.engine.volume_filters import list_filter, retired_filter
from orlop.engine.volume_health import problem_of
from orlop.engine.volume_holds import VolumeHolds
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mending import VolumeMender
from orlop.engine.volume_mounts import VolumeMounts
from orlop.engine.volume_moves import VolumeMoves
from orlop.engine.volume_node_moves import VolumeNodeMoves
from orlop.engine.volume_others import OthersVolumes
from orlop.engine.volume_reconcile import Reconciliation
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_removal import VolumeRemoval
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_shared_sync import Followed
from orlop.engine.volume_steps import VolumeSteps
from orlop.engine.volume_watch import VolumeWatch
from orlop.engine.volume_writing import VolumeWriting
from orlop.errors import Conflict, NotFound, OrlopError
from orlop.model.container import Container
from orlop.model.filters import Filters
from orlop.model.mount import Mount
from orlop.model.volume import (
    PruneReport,
    RetiredVolume,
    RetirementPolicy,
    Volume,
)
from orlop.store.journal import Journal

log = logging.getLogger(__name__)


class Volumes:
    """Use cases of volumes. Thread-safe; locks are per volume name. `subpaths` is a directory for mounts, of our own.

    At start: construct (which also registers the operations), `executor.recover()`, `reconcile()`.
    """

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        drivers: Mapping[str, VolumeDriver],
        events: Events,
        subpaths: Path,
        policy: RetirementPolicy | None = None,
        clock: Callable[[], int] = time.time_ns,
        describe_container: Callable[[str], str] = lambda container_id: container_id[:12],
        redactor: Redactor | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        policy = policy or RetirementPolicy()
        self._journal = journal
        self._executor = executor
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._records = VolumeRecords(journal, redactor)
        self._records.load()
        self.shared = SharedVolumes(cluster, self._records, drivers)
        self._locks = VolumeLocks(self._records)
        self.writing = VolumeWriting(cluster, self.shared, self._records, drivers, self._locks)
        self._settler = Settler(journal)
        self._steps = VolumeSteps(executor, drivers, self._records, self._settler)
        self._copyup = CopyUp(executor, drivers)
        self.others = OthersVolumes(journal, self._records, drivers)
        self.facts = FactRecords(journal, clock, lambda container_id: self.describe_container(container_id))  # noqa: PLW0108 - it is set later
        self._mounts = VolumeMounts(
            self._records,
            drivers,
            self._locks,
            events,
            self._copyup,
            Subpaths(subpaths),
            self.facts,
            self._settler,
            self.shared,
            self.writing,
        )
        self.access = VolumeAccess(self._records, drivers, self._locks, self._mounts.attach_data, self._mounts.mounting)
        self.access.written = self.facts.changed
        self.access.left = self.writing.end
        self.copies = VolumeCopies(
            executor, self._records, self._steps, drivers, self._locks, events, self.access, clock
        )
        self.retirements = Retirements(
            executor, self._records, self._steps, drivers, self._locks, events, policy, self.shared, clock
        )
        self.adoption = VolumeAdoption(executor, self._records, self._steps, drivers, self._locks, events, self.copies)
        self._creation = VolumeCreation(
            journal,
            executor,
            drivers,
            events,
            clock,
            self._records,
            self._locks,
            self._settler,
            self._steps,
            self.others,
            self.shared,
            self.retirements,
        )
        self._changes = VolumeChanges(
            executor,
            self._records,
            VolumeChangeSteps(executor, drivers, self._records),
            self._locks,
            events,
            self._settler,
            self._mounts.mounting,
            self._creation.check,
            self._describe,
            self.shared,
        )
        self.moves = VolumeMoves(
            executor,
            self._records,
            drivers,
            self._locks,
            events,
            self._mounts,
            self.retirements,
            self.shared,
            self.facts,
            lambda volume_id: self.access.is_open(volume_id) or self._mounts.is_visited(volume_id),
            self.meet,
            self._creation.check,
            self._describe,
            lambda name: self._followed.look(name),  # noqa: PLW0108 - it is made later
            clock,
        )
        self._followed = Followed(
            journal,
            self._records,
            drivers,
            self._locks,
            self.shared,
            self._changes,
            self.retirements,
            self.others,
            self.writing,
        )
        self.archives = VolumeArchives(self.access, self.copies)
        self._removal = VolumeRemoval(
            self._records,
            self._locks,
            self.retirements,
            self._changes,
            events,
            self.usage_bytes,
            self._describe,
            self.others,
            self.shared,
        )
        self._holds = VolumeHolds(self._records, self._locks, self._removal.remove_made_for, self.shared)
        ends = DepartureEnds(journal, executor, self._records, drivers, self._locks, events, policy, clock)
        departures = VolumeDepartures(
            ends,
            self._records,
            drivers,
            self._locks,
            self.access,
            self._mounts,
            self.shared,
        )
        arrivals = VolumeArrivals(journal, executor, self._records, drivers, self._locks, events)
        self.node_moves = VolumeNodeMoves(departures, arrivals)
        self._reconciliation = Reconciliation(journal, self._records, drivers, policy, clock)
        self.describe_container = describe_container
        self.watch: VolumeWatch | None = None
        self.retirements.ended = self.facts.forget

    def reconcile(self) -> list[str]:
        """Called once at start, after the executor has recovered. What was found and done, in words."""
        self._records.load()
        self.facts.load()
        self.node_moves.load()
        kept = self.node_moves.arrivals.tokens()
        reports = [*self._reconciliation.run(), *self._copyup.discard_leftovers(kept)]
        self.facts.keep_only(
            {volume.id for volume in self._records.all()} | {retired.id for retired in self._records.retired()}
        )
        self.access.let_go()
        return reports

    def join(self) -> None:
        """Called once, when everything is as the start found it: tell the cluster, and follow what it tells."""
        if self.shared.cluster is not None:
            self.writing.start()
            self._followed.start(self.shared.cluster)
            self.node_moves.start(self.shared.cluster)

    def look_closely(self) -> list[str]:
        """Called once, when the API is served: what is wrong with volumes that the start took at their name."""
        return [*self._reconciliation.look_closely(), *self.others.look_closely()]

    def watch_mounts(self, containers: Callable[[], Iterable[Container]], holders: MountHolders) -> VolumeWatch:
        """Of all volumes in use by these containers; the caller starts it and stops it."""
        mender = VolumeMender(self._records, self._drivers, self._locks, self._mounts, holders, containers)
        self.watch = VolumeWatch(self._records, self._drivers, self._events, containers, mender)
        return self.watch

    def close(self) -> None:
        self.node_moves.close()
        self._followed.close()
        self.writing.close()
        self._settler.close()

    # Create and find

    def create(
        self,
        name: str,
        driver: str,
        options: Mapping[str, str] | None,
        labels: Mapping[str, str] | None,
        container_id: str = "",
    ) -> Volume:
        """The volume of that name, made if it is not there ("" = anonymous, a name of 64 hex). With `container_id` that
        container holds it from the first moment, so that nobody removes it before the container exists."""
        return self._creation.create(name, driver, options, labels, container_id)

    def get(self, name: str) -> Volume:
        """Raises NoSuchVolume."""
        return self._records.get(name)

    def look_at(self, name: str) -> Volume:
        """`get`, with what is wrong with it now."""
        volume = self.meet(name)
        driver = self._drivers.get(volume.driver)
        seen = self.watch.problem_of(volume.id) if self.watch else ""
        if driver is not None and isinstance(driver, Independent):
            self.others.look_at(driver, volume)
            if seen and not self._records.get(name).problem:
                self._records.mark(volume.name, seen)
        else:
            self._records.mark(volume.name, problem_of(driver, volume) or seen)
        return self._records.get(name)

    def meet(self, name: str) -> Volume:
        """`get`; a volume that only somebody else's driver knew, or the cluster, is taken in. May take some seconds."""
        return self._creation.meet(name)

    def names_of(self, name: str) -> tuple[str, ...]:
        """Every name of the volume that `name` means; empty where there is none."""
        volume = self._records.find(name)
        return (volume.name, *volume.aliases) if volume else ()

    def with_current_sources(self, mounts: Sequence[Mount]) -> tuple[Mount, ...]:
        return self._records.with_current_sources(mounts)

    def everything(self) -> Sequence[Volume]:
        """Volumes, and removed ones that can be restored."""
        return [*self._records.all(), *(found.volume for found in self._records.retired())]

    @property
    def are_elsewhere_too(self) -> bool:
        """Whether there are more than those that this host knows: finding them may take a moment."""
        return self.others.are_there or self.shared.cluster is not None

    @property
    def version(self) -> int | None:
        """Of what a listing of all volumes tells: while it stays the same, so does the listing. None where others than
        this host have a word in it."""
        return None if self.are_elsewhere_too or self.others.are_awaited else self._records.version

    @property
    def count(self) -> int:
        return self._records.count

    @property
    def changes(self) -> int:
        """Another number whenever what this host knows of its volumes has changed."""
        return self._records.version

    def list_volumes(self, filters: Filters) -> tuple[Sequence[Volume], Sequence[str]]:
        """Volumes by name, and warnings."""
        self._shows(filters)  # what is wrong with it nobody has to wait for
        self.others.refresh()
        return self.list_known(filters)

    def _shows(self, filters: Filters) -> Callable[[Volume], bool]:
        return list_filter(filters, lambda name: self._records.holders(name) or self.shared.uses(name))

    def list_known(self, filters: Filters) -> tuple[Sequence[Volume], Sequence[str]]:
        """The same from memory."""
        shows = self._shows(filters)
        strangers = [*self.others.strangers(), *self.shared.strangers()]
        found = [volume for volume in self._records.all() if shows(volume)]
        if strangers:
            found = sorted([*found, *filter(shows, strangers)], key=lambda volume: volume.name)
        return found, [*self.others.warnings(found), *self.shared.warnings()]

    def usage_bytes(self, name: str) -> int:
        """-1 when it cannot be told."""
        volume = self._records.get(name)
        if self.facts.is_current(volume.id, in_use=bool(self._records.holders(name))):
            return self.facts.find(volume.id).size_bytes
        driver = self._drivers.get(volume.driver)
        try:
            return driver.usage_bytes(volume.name) if isinstance(driver, Usage) else -1
        except (OrlopError, OSError) as error:
            log.warning("how much is in volume %s cannot be told: %s", name, error)
            return -1

    # Remove

    def remove(self, name: str, force: bool = False, reason: str = "volume rm") -> None:
        """Retire it; by an alias, only let go of that. Raises NoSuchVolume (not with force), Conflict naming the
        holders or saying what protects it."""
        try:
            self.meet(name)
        except NotFound:
            pass
        except Conflict:
            if self._records.find(name) is not None or self.shared.find(name) is None:
                raise
            self._removal.remove_elsewhere(name)  # nothing of it can be here
            return
        self._removal.remove(name, force, reason)

    def prune(self, filters: Filters, include_named: bool) -> PruneReport:
        """Retire what nobody holds. What cannot go is logged and stays."""
        return self._removal.prune(filters, include_named)

    # Change

    def rename(self, name: str, new_name: str, keep_alias: bool = True) -> Volume:
        """The old name stays as an alias unless it is not to. Who has it attached keeps it. Raises NoSuchVolume,
        Malformed, Conflict, Unsupported."""
        return self._changes.rename(name, new_name, keep_alias)

    def update(self, name: str, labels: Mapping[str, str] | None, options: Mapping[str, str] | None) -> Volume:
        """Each map that is given replaces the one there is. A limit holds at once, other options from the next mount.
        Raises NoSuchVolume, Malformed, Conflict, Unsupported."""
        return self._changes.update(name, labels, options)

    # What is retired

    def list_retired(self, filters: Filters | None = None) -> Sequence[RetiredVolume]:
        """Oldest first."""
        shows = retired_filter(filters or {})
        return [retired for retired in self.retirements.all() if shows(retired)]

    def known_size_bytes(self, volume_id: str) -> int:
        """As last measured, of one that is there or retired; -1 where it never was."""
        return self.facts.find(volume_id).size_bytes

    def restore(self, reference: str, new_name: str = "") -> Volume:
        """By retired id, unique prefix of one, or name (the latest retired of that name). Raises NotFound, Conflict."""
        return self.retirements.restore(reference, new_name)

    def purge(self, reference: str) -> RetiredVolume:
        return self.retirements.purge(reference)

    # What containers need

    def holders(self, name: str) -> Sequence[str]:
        """Ids of the containers that hold it, by any of its names."""
        return self._records.holders(name)

    def hold(self, name: str, container_id: str) -> None:
        """The durable reference; taken at create. Raises NoSuchVolume."""
        self.hold_all([name], container_id)

    def hold_all(self, names: Iterable[str], container_id: str) -> None:
        """All of them, in one commit, or none."""
        self._holds.hold_all(names, container_id)

    def release(self, name: str, container_id: str) -> None:
        self._holds.release(name, container_id)

    def abandon(self, container_id: str, names: Iterable[str]) -> None:
        """The container was not created: it holds nothing, and the volumes made for it go. What fails here is logged,
        for the caller has an error of its own to tell."""
        self._holds.abandon(container_id, names)

    def release_unknown(self, container_ids: Collection[str]) -> list[str]:
        """At start: drop the holds of containers that are not there, for their creation was cut off. Returns what was
        done, in words."""
        return self._holds.release_unknown(container_ids)

    def is_fillable(self, name: str) -> bool:
        """Whether copy-up could put anything in it: false only when it certainly holds something."""
        volume = self._records.get(name)
        driver = self._drivers.get(volume.driver)
        try:
            return not isinstance(driver, Staging) or driver.is_empty(volume.name)
        except (OrlopError, OSError):
            return True

    def attach(self, mount: Mount, container_id: str, purpose: str = "") -> Path:
        """Host path of the mount's data (its subpath, if it has one); emits `mount`. Raises HostFailure rather than
        give a container other data than its own. Each purpose is a use of its own; "" is the container's process."""
        return self._mounts.attach(mount, container_id, purpose)

    def pin_again(self, path: Path, mount: Mount, container_id: str) -> Path:
        return self._mounts.pin_again(path, mount, container_id)

    def mounted(self, container_id: str) -> None:
        """What was attached for its process is mounted in it, or will not be: from here on nobody follows the paths
        that `attach` gave."""
        self._mounts.mounting.end(container_id)

    def keeping_paths(self, mounts: Iterable[Mount]) -> AbstractContextManager[None]:
        """During the block what `attach` gives for these leads to their volumes, whatever is renamed."""
        volumes = [self._records.find(mount.volume) for mount in mounts if mount.volume]
        return self._mounts.mounting.keeping([volume.id for volume in volumes if volume is not None])

    def remember_attached(self, mount: Mount, container_id: str) -> None:
        """At start: the container runs on, with this volume attached by the daemon before us."""
        self._mounts.remember_attached(mount, container_id)

    def detach_others(self) -> None:
        """At start, once all running containers are remembered."""
        self._mounts.detach_others()

    def detach(self, mount: Mount, container_id: str, purpose: str = "") -> None:
        self._mounts.detach(mount, container_id, purpose)

    def vanishes(self, mount: Mount, container_id: str, purpose: str) -> bool:
        return self._mounts.vanishes(mount, container_id, purpose)

    def populate(self, name: str, source_root: Path, source_path: str, subpath: str = "") -> None:
        """Copy the image's content at `source_path`, beneath `source_root`, into an empty volume or part of one."""
        self._mounts.populate(name, source_root, source_path, subpath)

    def _describe(self, container_ids: Sequence[str]) -> str:
        return ", ".join(self.describe_container(container_id) for container_id in container_ids)
