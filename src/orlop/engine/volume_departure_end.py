"""The end of a volume's departure to another host: the switch, and what follows from it, or that it did not happen.

Kept apart from the copying (volume_departures) because all that a crash or a lost answer can leave is seen to here, by
the same code.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Retirement, Settling
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.events import Events
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.volume_gates import why_gone
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_steps import render_record
from orlop.errors import NotFound, OrlopError, Unavailable
from orlop.model.container import Container
from orlop.model.value import dataclass
from orlop.model.volume import PROTECT_LABEL, RetiredVolume, RetirementPolicy, Volume
from orlop.model.volume_move import Departure, Move, MoveState
from orlop.planning.plan import Step
from orlop.planning.volumes import DEPART, plan_depart
from orlop.store.journal import Change, Drop, Journal, Put

log = logging.getLogger(__name__)

_AWAIT_ARRIVAL_SECONDS = 30.0
_AWAIT_WORD_SECONDS = 5.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Moved:
    volume: Volume
    node: str
    entries: int
    sent_bytes: int
    passes: int
    left_out: tuple[str, ...]  # paths of what no other host can have: sockets, what is mounted below
    containers: tuple[str, ...]  # names of those that were left without it
    has_arrived: bool  # False: it is the target's, which has not said yet that it has its name there


class DepartureEnds:
    """Called for one volume by one thread at a time."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
        policy: RetirementPolicy,
        clock: Callable[[], int],
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._events = events
        self._policy = policy
        self._clock = clock
        self.news = threading.Condition()  # notified of whatever may have changed
        self.noted: dict[str, Departure] = {}  # in the journal, by the volume's id; those that left, too
        # Set by the composition root.
        self.containers: Callable[[], Iterable[Container]] = list
        self.start: Callable[[str], object] = lambda container_id: None
        self.tell: Callable[[str, str], None] = lambda container_id, why: None  # why it cannot be started
        executor.register(OperationKind(DEPART, {DEPART: StepActions(self._do_retire)}, "found"))

    def load(self) -> None:
        """Before the API is served: what is in doubt is shut, who was left knows why."""
        self.noted = self._journal.load("departures", Departure)
        for departure in self.noted.values():
            if departure.left_at_ns:
                self._records.gates.leave(departure)
            elif departure.is_sent:
                self._records.gates.shut(departure.volume.id, _in_doubt(departure))

    def forget_old(self) -> None:
        """What came back, and nobody is without any more."""
        for departure in self.all_noted():
            volume_id = departure.volume.id
            is_back = any(volume.id == volume_id for volume in self._records.all())
            holders = set(self._records.holders(departure.volume.name))
            if departure.left_at_ns and is_back and not holders.intersection(departure.containers):
                self._journal.commit(Drop("departures", volume_id))
                self.noted.pop(volume_id, None)
                self._records.gates.forget(volume_id)

    def note(self, departure: Departure) -> None:
        self._journal.commit(Put("departures", departure.volume.id, departure))
        self.noted[departure.volume.id] = departure

    def noted_of(self, departure: Departure) -> Departure:
        """As it is noted by now; itself where it is not: a note may be that of an earlier move, of what came back."""
        noted = self.noted.get(departure.volume.id)
        return noted if noted is not None and noted.attempt == departure.attempt else departure

    def all_noted(self) -> list[Departure]:
        """As of now: another thread may note one meanwhile."""
        return list(self.noted.values())

    # The switch

    def commit(self, cluster: Cluster, subject: str, departure: Departure, ready: Move, moved: Moved) -> Moved:
        volume = departure.volume
        departure = replace(departure, is_sent=True, copy_id=secrets.token_hex(32))
        self._records.gates.shut(volume.id, _in_doubt(departure))
        self.note(departure)
        faults.point("volume.send", "commit", "before")
        committed = replace(ready, state=MoveState.COMMITTED, volume=replace(volume, mountpoint="", problem=""))
        try:
            is_committed = cluster.moves.advance(ready, committed)
        except OrlopError as error:
            log.warning("%s: whether it was committed is not known: %s", subject, error)
            is_committed = self._ask(cluster, committed, subject)
        faults.point("volume.send", "commit", "after")
        if not is_committed:
            self.stay(departure, cluster, ready)
            raise Unavailable(subject, "the other node gave it up at the last moment", "Look at its daemon's log")
        try:
            has_arrived = self._await_arrival(cluster, committed)
            is_taken_back = not has_arrived and cluster.moves.call_off(committed)
            left = tuple(container for container in self._leave(departure, cluster, committed)) if has_arrived else ()
        except OrlopError as error:
            log.warning("%s: it is that node's; what is left to do here is done later: %s", subject, error)
            has_arrived, is_taken_back, left = False, False, ()
        if is_taken_back:
            self.stay(departure, cluster, committed)
            why = f"node {departure.target} was taken out of the cluster before it had it"
            raise Unavailable(subject, why, "It is here as it was")
        return replace(moved, volume=volume, has_arrived=has_arrived, containers=left)

    def _ask(self, cluster: Cluster, move: Move, subject: str) -> bool:
        """Whether it is committed; called off if it is not. Raises Unavailable while it is not known."""
        deadline = time.monotonic() + _AWAIT_WORD_SECONDS
        while True:
            try:
                return not cluster.moves.call_off(move)
            except OrlopError as error:
                if time.monotonic() > deadline:
                    why = f"all is copied, and whether the cluster was told so is not known: {error.why}"
                    hint = "Nobody can use it here until etcd answers; then it goes on here, or is there, by itself"
                    raise Unavailable(subject, why, hint) from error
            with self.news:
                self.news.wait(_LOOK_SECONDS)

    def _await_arrival(self, cluster: Cluster, move: Move) -> bool:
        deadline = time.monotonic() + _AWAIT_ARRIVAL_SECONDS
        while time.monotonic() < deadline:
            now = next((each for each in cluster.moves.known() if each.volume.id == move.volume.id), None)
            if now is None or now.attempt != move.attempt:
                return False
            if now.state is MoveState.ARRIVED:
                return True
            with self.news:
                self.news.wait(_LOOK_SECONDS)
        return False

    def settle(self, cluster: Cluster, departure: Departure) -> None:
        """What an earlier daemon, or a call that gave up, left: told by the cluster what became of it."""
        posted = Move(departure.volume, departure.attempt, cluster.node, departure.target, "")
        if not departure.is_sent or cluster.moves.call_off(posted):
            self.stay(departure, cluster, posted)
            return
        self._records.gates.shut(departure.volume.id, f"it was moved to node {departure.target}")
        now = cluster.moves.look(departure.volume.id)
        if now is not None and now.attempt == departure.attempt and now.state is MoveState.ARRIVED:
            self._leave(departure, cluster, now)

    def stay(self, departure: Departure, cluster: Cluster, move: Move) -> None:
        """The move has ended, and all is as it was."""
        volume = departure.volume
        noted = self.noted.get(volume.id)
        if noted is not None and noted.attempt == departure.attempt:
            self._journal.commit(Drop("departures", volume.id))
            del self.noted[volume.id]
        self._records.gates.open(volume.id)
        for container_id in departure.stopped:
            try:
                self.start(container_id)
            except OrlopError as error:
                log.error("container %s, stopped for a move that ended: %s", container_id[:12], error)
        try:
            cluster.moves.call_off(move)
        except OrlopError as error:
            log.warning("volume %s stays here; the other node is told later: %s", volume.name, error)

    def _leave(self, departure: Departure, cluster: Cluster, move: Move) -> list[str]:
        """It is there under its name: here it is retired. Names of the containers that had it."""
        volume = departure.volume
        with self._locks.hold([volume.name]):
            now = self._clock()
            holders = self._records.holders(volume.name)
            left = replace(departure, left_at_ns=now, containers=tuple(holders))
            retired = self._retired(volume, left, now)
            plan = plan_depart(volume.name, volume.driver, left.copy_id, render_record(retired), left.target)
            changes: Sequence[Change] = (
                Drop("volumes", volume.name),
                Put("retired", retired.id, retired),
                Put("departures", volume.id, left),
            )
            self._executor.run(plan, lambda: changes)
            self.noted[volume.id] = left
            self._records.forget(volume.name)
            self._records.remember_retired(retired)
            self._records.gates.leave(left)
            self._records.gates.open(volume.id)
        self._events.publish("volume", "destroy", volume.name, {"driver": volume.driver, "movedTo": left.target})
        log.info("volume %s was moved to node %s; what was here is retired as %s", volume.name, left.target, retired.id)
        names = self._tell_left(left)
        cluster.moves.finish(move)
        return names

    def tell_left_again(self) -> None:
        """A crash may have come before it."""
        for departure in self.all_noted():
            if departure.left_at_ns and self._records.find(departure.volume.name) is None:
                self._tell_left(departure)

    def _tell_left(self, departure: Departure) -> list[str]:
        """Names of the containers that are without it."""
        names = []
        for container in self.containers():
            if container.id in departure.containers:
                names.append(container.name)
                why = f"volume {departure.volume.name} of this container: {why_gone(departure)}"
                try:
                    self.tell(container.id, why)
                except NotFound:
                    continue  # removed meanwhile
                except OrlopError as error:
                    log.warning("container %s is not told that its %s: %s", container.name, why, error)
        return names

    def _retired(self, volume: Volume, departure: Departure, now: int) -> RetiredVolume:
        """As another volume: two hosts never have one of the same id, also if somebody restores it. And no label keeps
        it from ending: it is protected where it is now."""
        labels = volume.labels
        if labels is not None:
            labels = {key: value for key, value in labels.items() if key != PROTECT_LABEL}
        copy = replace(volume, id=departure.copy_id, labels=labels, problem="")
        purge_at = self._policy.purge_at_ns(copy, now)
        return RetiredVolume(departure.copy_id, copy, now, purge_at, f"moved to node {departure.target}")

    def _do_retire(self, step: Step) -> None:
        driver = self._drivers[step.arguments["driver"]]
        assert isinstance(driver, Retirement)
        driver.retire(step.subject, step.arguments["id"], step.arguments["record"])
        if isinstance(driver, Settling):
            driver.settle()


def _in_doubt(departure: Departure) -> str:
    return f"it is being moved to node {departure.target}, and whether it is there already only the cluster knows"
