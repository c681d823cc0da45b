"""Volumes of this host that go to another one of the cluster: the source's side of a move.

    wish posted                 the target checks, prepares, listens
    passes                      while containers use the volume, until little is new
    shut                        nobody begins to use it; with `stop`, those who do are stopped
    last pass, verified         it stands still: what is there is what is here
    noted in the journal        "the cluster's word counts"
    committed                   one transaction; from here on it is the target's
    arrived                     the volume here is retired (it can be restored, as another volume), its containers are
                                left stopped, and told why

Whatever fails before the transaction ends the move, and all is as it was. Whoever does not know whether it was done,
because the answer was lost or a crash came, asks the cluster first; until it answers nobody can use the volume here.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from orlop.cluster.contract import Cluster, End
from orlop.drivers.volumes.abilities import Filling, Retirement, Usage
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.volume_access import VolumeAccess
from orlop.engine.volume_departure_end import DepartureEnds, Moved
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mirroring import Told, mirror_to
from orlop.engine.volume_mounts import VolumeMounts
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.errors import Conflict, Malformed, NotFound, OrlopError, Unavailable, Unsupported
from orlop.model.container import Container
from orlop.model.mount import MountKind
from orlop.model.volume import Volume, hide_secrets
from orlop.model.volume_move import Departure, Move, MoveState

log = logging.getLogger(__name__)

_AWAIT_READY_SECONDS = 30.0
_AWAIT_USES_SECONDS = 15.0
_AWAIT_ARRIVAL_SECONDS = 30.0
_AWAIT_WORD_SECONDS = 10.0
_LOOK_SECONDS = 0.5


class VolumeDepartures:
    """Thread-safe."""

    def __init__(
        self,
        ends: DepartureEnds,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        access: VolumeAccess,
        mounts: VolumeMounts,
        shared: SharedVolumes,
    ) -> None:
        self.ends = ends
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._access = access
        self._mounts = mounts
        self._shared = shared
        self._news = ends.news
        self._at_work: set[str] = set()  # ids of volumes
        # Set by the composition root.
        self.scratch: Path | None = None  # for notes about a tree, of the size of its names
        self.stop: Callable[[str], object] = lambda container_id: None

    # What an earlier daemon, or a call that gave up, left

    @property
    def is_unsettled(self) -> bool:
        return any(not departure.left_at_ns for departure in self.ends.all_noted()) or bool(self._own_moves())

    def _own_moves(self) -> list[Move]:
        """In the cluster, and nobody here is at it."""
        cluster = self._shared.cluster
        if cluster is None:
            return []
        moves = [move for move in cluster.moves.known() if move.source == cluster.node]
        return [move for move in moves if move.volume.id not in self._at_work]

    def look(self) -> None:
        """At what is in doubt, and at what was left unfinished. Raises Unavailable while the store is away."""
        with self._news:
            self._news.notify_all()
        for departure in self.ends.all_noted():
            if not departure.left_at_ns:
                with suppress(_AtWork), self._only_one(departure.volume.id):
                    self.ends.settle(self._shared.required("moves of volumes"), departure)
        for move in self._own_moves():
            with suppress(_AtWork), self._only_one(move.volume.id):
                self._tidy(move)
        self.ends.forget_old()

    def _tidy(self, move: Move) -> None:
        """The crash of a daemon before this one left it there."""
        cluster = self._shared.required("moves of volumes")
        departure = self.ends.noted.get(move.volume.id)
        if departure is not None and departure.attempt == move.attempt and not departure.left_at_ns:
            return  # settled with that
        if not cluster.moves.call_off(move) and departure is not None and departure.attempt == move.attempt:
            cluster.moves.finish(move)  # it left; only that was not told

    @contextmanager
    def _only_one(self, volume_id: str) -> Iterator[None]:
        with self._news:
            if volume_id in self._at_work:
                raise _AtWork
            self._at_work.add(volume_id)
        try:
            yield
        finally:
            with self._news:
                self._at_work.discard(volume_id)

    # The move

    def move(self, name: str, node: str, stop: bool = False, told: Told | None = None) -> Moved:
        """What `told` raises ends it, until it is committed. Raises NoSuchVolume, Conflict while containers run that
        use it (without `stop`) and where the target refuses, Unsupported, Unavailable."""
        volume = self._records.get(name)
        subject = f"move volume {volume.name} to node {node}"
        self.check(volume, node, stop)
        cluster = self._shared.required(subject)
        try:
            with self._only_one(volume.id), self._records.moving(volume, f"node {node}"):
                return self._move(cluster, subject, volume, stop, told or (lambda step, entries, size: None), node)
        except _AtWork:
            raise Conflict(subject, "it is being moved already", "Wait for the end of that") from None

    def check(self, volume: Volume, node: str, stop: bool) -> None:
        """What can be told before anything is done."""
        subject = f"move volume {volume.name} to node {node}"
        cluster = self._shared.required(subject)
        if cluster.node == node:
            raise Malformed(subject, "this host is that node: it is there")
        if node not in [each.name for each in cluster.nodes()]:
            raise NotFound(subject, "there is no node of that name", "List them: orlop node ls")
        self._records.gates.check(subject, volume)
        driver = self._drivers.get(volume.driver)
        if volume.is_shared or getattr(driver, "scope", "") == "global":
            raise Unsupported(subject, "its storage is reached by every node", "Use it there as it is")
        able = isinstance(driver, Filling) and isinstance(driver, Retirement)
        if not able or volume.mounts_its_content:
            why = "its data is not this host's own: its driver or its options say where it is"
            raise Unsupported(subject, why, "Copy it into a volume of the driver local first: orlop volume cp")
        options = volume.options or {}
        if any(hidden != options[key] for key, hidden in hide_secrets(options).items()):
            why = "its options hold a secret, which the cluster would be told"
            raise Malformed(subject, why, "Name it, on both nodes: orlop secret create NAME FILE, and secret://NAME")
        users = [container.name for container in self._users(volume)]
        if users and not stop:
            why = f"containers that run here use it: {', '.join(users)}"
            raise Conflict(subject, why, "Stop them first; or let them be stopped for the last part of it: --stop")

    def _users(self, volume: Volume) -> list[Container]:
        names = (volume.name, *volume.aliases)
        return [
            container
            for container in self.ends.containers()
            if container.is_running
            and any(mount.kind is MountKind.VOLUME and mount.volume in names for mount in container.mounts)
        ]

    def _move(self, cluster: Cluster, subject: str, volume: Volume, stop: bool, told: Told, node: str) -> Moved:
        end = cluster.moves.make_end(volume.name)
        move = Move(
            replace(volume, mountpoint="", problem=""),
            secrets.token_hex(16),
            cluster.node,
            node,
            end.certificate,
            self._room_bytes(subject, volume),
        )
        departure = Departure(volume, move.attempt, node)
        cluster.moves.post(move)
        faults.point("volume.send", "wish", "after")
        try:
            ready = self._await_ready(cluster, subject, move)
            with self._access.open(volume.name, only_looks=True) as opened:
                departure, moved = self._fill(departure, ready, end, opened.fd, subject, stop, told)
            return self.ends.commit(cluster, subject, departure, ready, moved)
        except BaseException:
            departure = self.ends.noted_of(departure)
            if not departure.is_sent:  # else the cluster's word counts: asked for until it is known
                self.ends.stay(departure, cluster, move)
            raise

    def _room_bytes(self, subject: str, volume: Volume) -> int:
        """What it takes on a disk; -1 where that cannot be told."""
        driver = self._drivers[volume.driver]
        try:
            found = driver.measure(volume.name, lambda: False) if isinstance(driver, Usage) else None
        except (OrlopError, OSError) as error:
            log.warning("%s: how much room it needs cannot be told: %s", subject, error)
            return -1
        return found.disk_bytes if found is not None else -1

    def _await_ready(self, cluster: Cluster, subject: str, move: Move) -> Move:
        deadline = time.monotonic() + _AWAIT_READY_SECONDS
        while time.monotonic() < deadline:
            now = next((each for each in cluster.moves.known() if each.attempt == move.attempt), None)
            if now is None:
                raise Unavailable(subject, "that node gave it up", "Look at its daemon's log, and try again")
            if now.state is MoveState.REFUSED:
                raise Conflict(subject, now.why)
            if now.state is MoveState.READY:
                return now
            with self._news:
                self._news.wait(_LOOK_SECONDS)
        why = f"that node did not answer within {_AWAIT_READY_SECONDS:g} s"
        raise Unavailable(subject, why, "Look at its daemon's log")

    def _fill(
        self, departure: Departure, ready: Move, end: End, fd: int, subject: str, stop: bool, told: Told
    ) -> tuple[Departure, Moved]:
        """All is there, verified, and nobody can change it here any more."""
        line = end.dial(ready)
        try:
            with mirror_to(line, fd, told, subject, self.scratch) as mirror:
                mirror.bring_most()
                faults.point("volume.send", "passes", "after")
                departure = self._shut(departure, subject, stop)
                sent = mirror.bring_rest()
                faults.point("volume.send", "verified", "after")
        finally:
            line.close()
        moved = Moved(
            departure.volume, departure.target, sent.entries, sent.sent_bytes, sent.passes, sent.left_out, (), False
        )
        return departure, moved

    # It stands still

    def _shut(self, departure: Departure, subject: str, stop: bool) -> Departure:
        volume = departure.volume
        with self._locks.hold([volume.name]):
            now = self._records.find(volume.name)
            if now is None or now.id != volume.id or now.name != volume.name or now.options != volume.options:
                raise Conflict(subject, "it was removed, renamed or given other options meanwhile", "Try again")
            self._records.gates.shut(volume.id, f"it is about to be moved to node {departure.target}")
        departure = replace(departure, volume=now)
        users = self._users(now)
        if users and not stop:
            raise Conflict(subject, f"a container began to use it: {users[0].name}", "Stop it, or move with --stop")
        if users:
            # Noted first: who was stopped for nothing is started again, also by the daemon after a crash.
            departure = replace(departure, stopped=tuple(container.id for container in users))
            self.ends.note(departure)
            with ThreadPoolExecutor(8, "stopping") as pool:
                list(pool.map(self._stop_one, [container.id for container in users]))
            faults.point("volume.send", "stop", "after")
        self._await_unused(now, subject)
        return departure

    def _stop_one(self, container_id: str) -> None:
        with suppress(NotFound):  # removed with its end
            self.stop(container_id)

    def _await_unused(self, volume: Volume, subject: str) -> None:
        deadline = time.monotonic() + _AWAIT_USES_SECONDS
        while self._mounts.is_used(volume.id) or self._access.is_shared(volume.id):
            if time.monotonic() > deadline:
                why = "somebody works on it (a copy, an export, a container that is about to start or to end)"
                raise Conflict(subject, why, "Wait for the end of that")
            with self._news:
                self._news.wait(0.05)


class _AtWork(Exception):
    """Somebody else is at this volume's move."""
