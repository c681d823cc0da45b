"""Volumes: create, find, hold, use, remove.

This is the front; the work is in volume_mounts (attached for containers), volume_holds (held by them), volume_changes
(renamed, updated), volume_moves (to other storage), volume_removal and retirement (gone, and back), volume_reconcile
(the start), volume_access (what the daemon itself does with the data) and volume_copies. volume_assembly says which of
these needs which.
"""

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Independent, Staging
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.mount_holders import MountHolders
from orlop.engine.redactor import Redactor
from orlop.engine.volume_assembly import VolumeAssembly
from orlop.engine.volume_filters import list_filter, retired_filter
from orlop.engine.volume_health import problem_of
from orlop.engine.volume_mending import VolumeMender
from orlop.engine.volume_watch import VolumeWatch
from orlop.errors import Conflict, NotFound, OrlopError
from orlop.model.container import Container
from orlop.model.filters import Filters
from orlop.model.mount import Mount
from orlop.model.volume import PruneReport, RetiredVolume, RetirementPolicy, Volume
from orlop.store.journal import Journal


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
        self.describe_container = describe_container
        self.watch: VolumeWatch | None = None
        uses = VolumeAssembly(
            journal,
            executor,
            drivers,
            events,
            subpaths,
            policy or RetirementPolicy(),
            clock,
            lambda container_id: self.describe_container(container_id),  # noqa: PLW0108 - it is set later
            redactor,
            cluster,
        )
        self._drivers = drivers
        self._events = events
        self._records = uses.records
        self._locks = uses.locks
        self._settler = uses.settler
        self._copyup = uses.copyup
        self._mounts = uses.mounts
        self._creation = uses.creation
        self._changes = uses.changes
        self._removal = uses.removal
        self._holds = uses.holds
        self._sizes = uses.sizes
        self._followed = uses.followed
        self._reconciliation = uses.reconciliation
        self.shared = uses.shared
        self.writing = uses.writing
        self.others = uses.others
        self.facts = uses.facts
        self.access = uses.access
        self.copies = uses.copies
        self.retirements = uses.retirements
        self.adoption = uses.adoption
        self.moves = uses.moves
        self.archives = uses.archives
        self.node_moves = uses.node_moves

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
    def version(self) -> Hashable | None:
        """Of what a listing of all volumes tells: while it stays the same, so does the listing. None where drivers have
        a word in it that have to be asked."""
        if self.others.are_there or self.others.are_awaited:
            return None
        return self._records.version, self.shared.version

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
        """-1 when it cannot be told. Raises NoSuchVolume."""
        return self._sizes.usage_bytes(name)

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
        return self._sizes.known_bytes(volume_id)

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
