"""Volumes that come to this host from another one of the cluster: the target's side of a move.

    wished      names checked and reserved, an unseen volume made (Filling.prepare), its arrival noted in the journal,
                one port opened for one peer: `ready`
    ready       the source's mirror fills it and has it verified
    committed   it is this host's: it gets its name, `arrived`
    else        whoever is in doubt calls the move off first; only when the cluster says that it is, the bytes go

A crash leaves the note: what it is about is kept, out of sight, until the cluster says which of the two it is to be.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from orlop.cluster.contract import Cluster, Door, End
from orlop.drivers.volumes.abilities import Filling, SelfDescribing
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.events import Events
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mirroring import receive_from
from orlop.engine.volume_options import check_options
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_steps import render_record
from orlop.errors import Conflict, HostFailure, NotFound, OrlopError, Unavailable, Unsupported
from orlop.model.on_hang import for_driver
from orlop.model.sizes import describe_size
from orlop.model.volume import Volume
from orlop.model.volume_move import Arrival, Move, MoveState
from orlop.planning.plan import Step
from orlop.planning.volumes import ARRIVE, plan_arrive
from orlop.store.journal import Change, Drop, Journal, Put

log = logging.getLogger(__name__)

_AWAIT_PEER_SECONDS = 20.0
_AWAIT_COMMIT_SECONDS = 30.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class VolumeArrivals:
    """`look` is called by one thread; each arrival has a thread of its own while it lasts."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._events = events
        self._cluster: Cluster | None = None
        self._lock = threading.Condition()
        self._arrivals: dict[str, Arrival] = {}  # by the volume's id
        self._at_work: set[str] = set()  # of these, those that a thread sees to
        self._doors: dict[str, Door] = {}
        self._stuck: set[str] = set()  # that cannot get their names, of which the log knows
        self._news = 0
        executor.register(OperationKind(ARRIVE, {ARRIVE: StepActions(self._do_reveal)}, "found"))
        self.receive: Callable[..., None] = receive_from

    # Start

    def load(self) -> None:
        """Before the API is served: names that are promised stay so."""
        self._arrivals = self._journal.load("arrivals", Arrival)
        for arrival in self._arrivals.values():
            self._reserve(arrival.move)

    def tokens(self) -> frozenset[str]:
        """Of what the driver has to keep."""
        return frozenset(arrival.token for arrival in self._arrivals.values())

    def join(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _joined(self) -> Cluster:
        if self._cluster is None:
            raise Unavailable("volumes on their way here", "this host is in no cluster")
        return self._cluster

    @property
    def is_unsettled(self) -> bool:
        return bool(self._arrivals)

    # News

    def look(self) -> None:
        """At all that is on its way here. Raises Unavailable while the store is away."""
        with self._lock:
            self._news += 1
            self._lock.notify_all()
        wished = {move.volume.id: move for move in self._joined.moves.known() if move.target == self._joined.node}
        for volume_id, move in wished.items():
            if move.state is MoveState.WISHED:
                self._begin(volume_id, move)
            elif move.state is MoveState.COMMITTED and volume_id not in self._arrivals:
                self._tell_again(move)
        for volume_id in list(self._arrivals):
            if self._take_up(volume_id):
                try:
                    if (arrival := self._arrivals.get(volume_id)) is not None:  # else it was settled just now
                        self._settle(arrival)
                finally:
                    self._at_work.discard(volume_id)

    def _take_up(self, volume_id: str) -> bool:
        """Whether nobody else is at it."""
        with self._lock:
            if volume_id in self._at_work:
                return False
            self._at_work.add(volume_id)
            return True

    def _begin(self, volume_id: str, move: Move) -> None:
        known = self._arrivals.get(volume_id)
        if known is None and self._take_up(volume_id):
            name = f"arrival of {move.volume.name}"
            threading.Thread(target=self._run, args=(move,), name=name, daemon=True).start()

    def _tell_again(self, move: Move) -> None:
        """It is here, or was, and a crash came before the cluster was told."""
        everything = [*self._records.all(), *(retired.volume for retired in self._records.retired())]
        if any(volume.id == move.volume.id for volume in everything):
            self._tell_arrived(move)

    # One arrival

    def _run(self, move: Move) -> None:
        try:
            self._arrive(move)
        except (OrlopError, OSError) as error:
            _log_trouble(move, error)
        except Exception:
            log.exception("volume %s, on its way here from node %s", move.volume.name, move.source)
        finally:
            self._at_work.discard(move.volume.id)

    def _arrive(self, move: Move) -> None:
        try:
            arrival, fd = self._prepare(move)
        except (OrlopError, OSError) as error:
            why = error.why if isinstance(error, OrlopError) else f"{error.strerror or error}"
            self._joined.moves.advance(move, replace(move, state=MoveState.REFUSED, why=why))
            raise
        try:
            try:
                self._fill(arrival, fd)
            finally:
                os.close(fd)
            self._await_commit(arrival)
        except (OrlopError, OSError) as error:
            _log_trouble(move, error)  # now: settling it may have a trouble of its own
        finally:
            self._settle(arrival)

    def _prepare(self, move: Move) -> tuple[Arrival, int]:
        """The unseen volume and its open directory. What raises leaves nothing."""
        volume = move.volume
        driver = self._check(volume)
        with self._locks.hold([volume.name]):
            self._refuse_taken(volume)
            self._reserve(move)
        arrival = Arrival(move, f"move-{volume.id[:16]}-{move.attempt[:8]}")
        fd = -1
        try:
            self._arrivals[volume.id] = arrival  # first: what cannot be undone here at once is settled later
            self._journal.commit(Put("arrivals", volume.id, arrival))
            faults.point("volume.arrive", "prepare", "before")
            path = driver.prepare(arrival.token, for_driver(volume.options), render_record(volume))
            fd = os.open(path, _DIRECTORY)
            faults.point("volume.arrive", "prepare", "after")
            _require_room(fd, move)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            try:
                self._discard(arrival)
            except (OrlopError, OSError) as error:
                _log_trouble(move, error)
            raise
        return arrival, fd

    def _check(self, volume: Volume) -> Filling:
        driver = self._drivers.get(volume.driver)
        subject = f"volume {volume.name}"
        if driver is None:
            raise NotFound(subject, f"its driver {volume.driver} is not there", f"Here are: {', '.join(self._drivers)}")
        if not isinstance(driver, Filling):
            raise Unsupported(subject, f"its driver {volume.driver} cannot make a volume with its data at once there")
        check_options(volume.name, driver, volume.options)
        return driver

    def _refuse_taken(self, volume: Volume) -> None:
        if why := self._records.why_taken(volume.name):
            raise Conflict(f"volume {volume.name}", f"the name is taken there: {why}", "Rename one of the two")
        if any(each.id == volume.id for each in self._records.all()):
            raise Conflict(f"volume {volume.name}", "a volume of its id is there already, under another name")

    def _reserve(self, move: Move) -> None:
        why = f"{move.volume.name} is the name of a volume that is on its way here from node {move.source}"
        self._records.gates.reserve([move.volume.name], why)

    def _fill(self, arrival: Arrival, fd: int) -> None:
        move = arrival.move
        end: End = self._joined.moves.make_end(move.volume.name)
        door = end.listen(move.source_certificate)
        with self._lock:
            self._doors[move.volume.id] = door
        try:
            ready = replace(
                move,
                state=MoveState.READY,
                address=door.address,
                port=door.port,
                target_certificate=end.certificate,
            )
            if not self._joined.moves.advance(move, ready):
                raise Conflict(f"volume {move.volume.name}", "the source gave it up")
            faults.point("volume.arrive", "ready", "after")
            line = door.accept(_AWAIT_PEER_SECONDS)
        finally:
            door.close()
            self._doors.pop(move.volume.id, None)
        try:
            self.receive(line, fd, f"volume {move.volume.name}")
        finally:
            line.close()
        faults.point("volume.arrive", "filled", "after")

    def _await_commit(self, arrival: Arrival) -> None:
        """The source commits as soon as it knows that all is here. If it does not, it is in trouble."""

        def is_decided() -> bool:
            now = next((m for m in self._joined.moves.known() if m.volume.id == arrival.move.volume.id), None)
            return now is None or now.state is MoveState.COMMITTED or now.attempt != arrival.move.attempt

        with self._lock:
            self._lock.wait_for(is_decided, _AWAIT_COMMIT_SECONDS)

    # Its end

    def _settle(self, arrival: Arrival) -> None:
        """Nobody is at it any more. Raises Unavailable while the cluster cannot say what it is to be."""
        if self._joined.moves.call_off(arrival.move):
            self._discard(arrival)
            return
        committed = self._joined.moves.look(arrival.move.volume.id)
        assert committed is not None
        try:
            self._reveal(arrival, committed)
        except (OrlopError, OSError) as error:
            if committed.volume.id in self._stuck:
                return
            self._stuck.add(committed.volume.id)
            log.error(
                "volume %s was moved here from node %s, and cannot get its name yet; it is kept, and this is tried "
                "again: %s",
                committed.volume.name,
                committed.source,
                error,
            )
            return
        self._stuck.discard(committed.volume.id)
        self._tell_arrived(committed)

    def _tell_arrived(self, committed: Move) -> None:
        arrived = replace(committed, state=MoveState.ARRIVED)
        if self._joined.moves.advance(committed, arrived) and self._is_gone(committed.source):
            self._joined.moves.finish(arrived)  # nobody else will

    def _is_gone(self, node: str) -> bool:
        """It was taken out of the cluster."""
        return self._joined.is_current and node not in [each.name for each in self._joined.nodes()]

    def _discard(self, arrival: Arrival) -> None:
        volume = arrival.move.volume
        driver = self._drivers.get(volume.driver)
        if isinstance(driver, Filling):
            driver.unstage(arrival.token)
        self._forget(arrival, [])
        log.info("volume %s does not come here: its move from node %s ended", volume.name, arrival.move.source)

    def _reveal(self, arrival: Arrival, move: Move) -> None:
        volume = move.volume
        aliases = tuple(alias for alias in volume.aliases if not self._records.why_taken(alias))
        volume = replace(volume, aliases=aliases, mountpoint="", problem="")
        with self._locks.hold([volume.name]):
            taken = self._records.find(volume.name)
            if taken is not None and taken.id != volume.id:  # made by hand, in the driver's own place
                raise Conflict(f"volume {volume.name}", "another volume has its name", "Rename or remove that one")
            plan = plan_arrive(volume.name, volume.driver, arrival.token, render_record(volume), move.source)

            def outcome() -> list[Change]:
                nonlocal volume
                volume = replace(volume, mountpoint=self._drivers[volume.driver].get(volume.name).mountpoint)
                return [Put("volumes", volume.name, volume), Drop("arrivals", volume.id)]

            self._executor.run(plan, outcome)
            self._records.remember(volume)
            self._forget(arrival)
        self._events.publish("volume", "create", volume.name, {"driver": volume.driver, "movedFrom": move.source})
        log.info("volume %s was moved here from node %s", volume.name, move.source)

    def _do_reveal(self, step: Step) -> None:
        driver = self._drivers[step.arguments["driver"]]
        assert isinstance(driver, Filling)
        driver.reveal(step.arguments["token"], step.subject)
        if isinstance(driver, SelfDescribing):
            driver.describe(step.subject, step.arguments["record"])

    def _forget(self, arrival: Arrival, changes: list[Change] | None = None) -> None:
        volume = arrival.move.volume
        if changes is not None:
            self._journal.commit(*changes, Drop("arrivals", volume.id))
        self._records.gates.free([volume.name])
        self._arrivals.pop(volume.id, None)

    def close(self) -> None:
        with self._lock:
            doors = list(self._doors.values())
        for door in doors:
            door.close()


def _log_trouble(move: Move, error: OrlopError | OSError) -> None:
    log.warning("volume %s, on its way here from node %s: %s", move.volume.name, move.source, error)


def _require_room(fd: int, move: Move) -> None:
    found = os.fstatvfs(fd)
    free = found.f_bavail * found.f_frsize
    if move.size_bytes > free:
        why = f"it holds {describe_size(move.size_bytes)}, and there is room for {describe_size(free)} there"
        raise HostFailure(f"volume {move.volume.name}", why, "Make room there first")
