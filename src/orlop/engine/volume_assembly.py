"""Which use case of volumes needs which: all of them, put together once for a daemon (`Volumes` asks them).

The order is a chain: each is given those made before it. What only a later one can answer is asked through a function.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.copyup import CopyUp
from orlop.engine.events import Events
from orlop.engine.executor import Executor
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
from orlop.engine.volume_coming import ComingVolumes
from orlop.engine.volume_copies import VolumeCopies
from orlop.engine.volume_creation import VolumeCreation
from orlop.engine.volume_departure_end import DepartureEnds
from orlop.engine.volume_departures import VolumeDepartures
from orlop.engine.volume_facts import FactRecords
from orlop.engine.volume_holds import VolumeHolds
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mounts import VolumeMounts
from orlop.engine.volume_moves import VolumeMoves
from orlop.engine.volume_node_moves import VolumeNodeMoves
from orlop.engine.volume_others import OthersVolumes
from orlop.engine.volume_reconcile import Reconciliation
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_removal import VolumeRemoval
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_shared_sync import Followed
from orlop.engine.volume_sizes import VolumeSizes
from orlop.engine.volume_steps import VolumeSteps
from orlop.engine.volume_writing import VolumeWriting
from orlop.model.volume import RetirementPolicy
from orlop.store.journal import Journal


class VolumeAssembly:
    """Constructing it loads the records and registers the operations; no thread of it runs before `Volumes.join`."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        drivers: Mapping[str, VolumeDriver],
        events: Events,
        subpaths: Path,
        policy: RetirementPolicy,
        clock: Callable[[], int],
        describe_container: Callable[[str], str],
        redactor: Redactor | None,
        cluster: Cluster | None,
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._drivers = drivers
        self._events = events
        self._policy = policy
        self._clock = clock
        self._describe_container = describe_container
        self.records = VolumeRecords(journal, redactor)
        self.records.load()
        self.shared = SharedVolumes(cluster, self.records, drivers)
        self.locks = VolumeLocks(self.records)
        self.writing = VolumeWriting(cluster, self.shared, self.records, drivers, self.locks)
        self.settler = Settler(journal)
        self.others = OthersVolumes(journal, self.records, drivers)
        self._assemble_use(subpaths)
        self._assemble_life()
        self._assemble_moves()
        self._assemble_node_moves()
        self.reconciliation = Reconciliation(journal, self.records, drivers, policy, clock)

    def _describe(self, container_ids: Sequence[str]) -> str:
        return ", ".join(map(self._describe_container, container_ids))

    def _assemble_use(self, subpaths: Path) -> None:
        """By containers, and by the daemon itself."""
        self.copyup = CopyUp(self._executor, self._drivers)
        self.facts = FactRecords(self._journal, self._clock, self._describe_container)
        self.sizes = VolumeSizes(self.records, self._drivers, self.facts)
        self.mounts = VolumeMounts(
            self.records,
            self._drivers,
            self.locks,
            self._events,
            self.copyup,
            Subpaths(subpaths),
            self.facts,
            self.settler,
            self.shared,
            self.writing,
        )
        self.access = VolumeAccess(
            self.records, self._drivers, self.locks, self.mounts.attach_data, self.mounts.mounting
        )
        self.access.written = self.facts.changed
        self.access.left = self.writing.end

    def _assemble_life(self) -> None:
        """From the creation of a volume to its purge."""
        executor, drivers, events = self._executor, self._drivers, self._events
        steps = VolumeSteps(executor, drivers, self.records, self.settler)
        self.copies = VolumeCopies(executor, self.records, steps, drivers, self.locks, events, self.access, self._clock)
        self.archives = VolumeArchives(self.access, self.copies)
        self.retirements = Retirements(
            executor, self.records, steps, drivers, self.locks, events, self._policy, self.shared, self._clock
        )
        self.retirements.ended = self.facts.forget
        self.adoption = VolumeAdoption(executor, self.records, steps, drivers, self.locks, events, self.copies)
        self.creation = VolumeCreation(
            self._journal,
            executor,
            drivers,
            events,
            self._clock,
            self.records,
            self.locks,
            self.settler,
            steps,
            self.others,
            self.shared,
            self.retirements,
        )
        self.changes = VolumeChanges(
            executor,
            self.records,
            VolumeChangeSteps(executor, drivers, self.records),
            self.locks,
            events,
            self.settler,
            self.mounts.mounting,
            self.creation.check,
            self._describe,
            self.shared,
        )
        self.removal = VolumeRemoval(
            self.records,
            self.locks,
            self.retirements,
            self.changes,
            events,
            self.sizes.usage_bytes,
            self._describe,
            self.others,
            self.shared,
        )
        self.holds = VolumeHolds(self.records, self.locks, self.removal.remove_made_for, self.shared)

    def _assemble_moves(self) -> None:
        """To other storage of this host, and what other hosts are told of it."""
        coming = ComingVolumes(self.shared, self.records, self._drivers, self.locks, self.writing)
        self.followed = Followed(
            self._journal,
            self.records,
            self._drivers,
            self.locks,
            self.shared,
            self.changes,
            self.retirements,
            self.others,
            self.writing,
            coming,
        )
        self.moves = VolumeMoves(
            self._executor,
            self.records,
            self._drivers,
            self.locks,
            self._events,
            self.mounts,
            self.retirements,
            self.shared,
            self.facts,
            coming,
            lambda volume_id: self.access.is_open(volume_id) or self.mounts.is_visited(volume_id),
            self.creation.meet,
            self.creation.check,
            self._describe,
            self.followed.look,
            self._clock,
        )

    def _assemble_node_moves(self) -> None:
        """To other hosts."""
        journal, executor, drivers, events = self._journal, self._executor, self._drivers, self._events
        ends = DepartureEnds(journal, executor, self.records, drivers, self.locks, events, self._policy, self._clock)
        departures = VolumeDepartures(ends, self.records, drivers, self.locks, self.access, self.mounts, self.shared)
        arrivals = VolumeArrivals(journal, executor, self.records, drivers, self.locks, events)
        self.node_moves = VolumeNodeMoves(departures, arrivals)
