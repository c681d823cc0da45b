"""Who may write a volume that one host at a time may write: a lease of etcd with an epoch.

    writers/<volume id>     who; under the lease of that node, so it goes when the node is not heard of any more
    epochs/<volume id>      the last epoch; grows with each change of hands, in the same transaction
    wanted/<volume id>      who wants to take it over; under the lease of that one

A node has one lease for all that it writes, asked for when it needs it and given back when it does not. How long it
may be used: see term.py. Losing is done once, by its own thread, and is not taken back: what began to be torn down is
acquired anew, with a new epoch. The key is deleted only when nothing can be written any more: because the engine said
so, or because the time has passed at which the kernel has seen to it.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from orlop.cluster.etcd import Absent, Entry, Operation, Put, Read, Unchanged
from orlop.cluster.etcd_link import PATIENCE_SECONDS, EtcdFault, Uncertain
from orlop.cluster.keys import Keys, render
from orlop.cluster.letting_go import LettingGo
from orlop.cluster.term import Term, boot_clock
from orlop.cluster.wishes import Transactions, Wishes, delete_leased
from orlop.cluster.writing_record import held_elsewhere, writer_at
from orlop.cluster.writing_state import Leashes, WritingState, boot_id, read_state, write_state
from orlop.errors import OrlopError, Unavailable, WriterElsewhere
from orlop.model.cluster import GlobalVolume, Writer

log = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS = 0.4
_LOOK_SECONDS = 0.2
_ENOUGH_LEASES = 62  # bits


class _NotYet(Unavailable):
    """Soon it can be asked for anew."""


class Store(Transactions, Protocol):
    """What is used of cluster.etcd.Etcd."""

    def grant(self, lease: int, ttl_seconds: int, seconds: float = ...) -> None: ...

    def renew(self, lease: int, seconds: float = ...) -> int: ...

    def revoke(self, lease: int, seconds: float = ...) -> None: ...

    def time_to_live(self, lease: int, seconds: float = ...) -> int: ...


class Writers:
    """Thread-safe. `state` is a file, `leashes` a folder: see writing_state. Without `start` nothing happens by itself,
    and whoever drives it calls `renew` and `check`."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        state: Path,
        leashes: Path,
        term: Term | None = None,
        clock: Callable[[], int] = boot_clock,
        aside: Callable[[Callable[[], None], str], None] | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._node = node
        self._state = state
        self._leashes = Leashes(leashes)
        self._wished = self._term = term or Term()
        self._clock = clock
        self._aside = aside or _in_a_thread
        self._lock = threading.Condition()
        self._granting = threading.Lock()
        self._changing = threading.Lock()  # keys are put and deleted by one at a time
        self._lease = 0
        self._asked_ns = 0  # when the renewal was sent that was answered last
        self._held: dict[str, Writer] = {}
        self._losing: set[str] = set()
        self._doubtful: dict[str, int] = {}  # keys that may be there and are not meant to, with their lease
        self._wishes = Wishes(store, keys, node)
        self._arriving = ""  # the volume that is being acquired, and whether another node wished for it meanwhile
        self._is_wished_early = False
        self._told: Callable[[str], None] = lambda volume_id: None
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def on_lost(self, told: Callable[[str], None]) -> None:
        """`told` returns when nothing can be written to the volume from here any more. It may raise, or not return:
        then the time is waited for at which that is so anyway."""
        self._told = told

    # Its life

    def start(self) -> None:
        """Take up what the daemon before this one had."""
        self.resume()
        for name, work in (("renewing write access", self._renewing), ("watching write access", self._checking)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def resume(self) -> None:
        known = read_state(self._state)
        if not known.lease:
            return
        if known.boot != boot_id():
            # All that could write by it ended with the kernel that ran it.
            write_state(self._state, WritingState())
            self._give_back(known.lease)
            return
        with self._lock:
            self._lease = known.lease
            for volume_id, epoch in known.epochs.items():
                self._held[volume_id] = Writer(volume_id, self._node, epoch, 0)
            until = max((self._leashes.until_ns(*each) for each in known.epochs.items()), default=0)
            self._asked_ns = until - (self._term.ends_at_ns(0))
        if self._clock() < until or not known.epochs:
            self.renew()
        self.check()

    def close(self) -> None:
        """Containers go on, and what they write to: for as long as the last renewal lasts, and longer if another daemon
        takes it up."""
        self._closed.set()
        with self._lock:
            self._lock.notify_all()
        for thread in self._threads:
            thread.join(self._term.seconds)
        self.renew()

    def held(self) -> Mapping[str, Writer]:
        with self._lock:
            return {key: writer for key, writer in self._held.items() if key not in self._losing}

    def leash(self, volume_id: str) -> Path | None:
        """The file that says until when what reaches that volume's storage may live. None for what is not held."""
        with self._lock:
            writer = self._held.get(volume_id)
            return None if writer is None else self._leashes.path(volume_id, writer.epoch)

    # Acquire

    def acquire(self, volume: GlobalVolume, containers: Sequence[str], wait_seconds: float = 0.0) -> Writer:
        """Has it already is success. Raises WriterElsewhere, Unavailable."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                found, lease = self._try(volume, containers)
            except _NotYet:
                if time.monotonic() >= deadline or self._closed.wait(_ASK_AGAIN_SECONDS):
                    raise
                continue
            if not lease:
                return found
            if time.monotonic() >= deadline:
                raise self._refusal(volume, found, lease)
            self._closed.wait(min(_ASK_AGAIN_SECONDS, max(0.01, deadline - time.monotonic())))

    def take_over(self, volume: GlobalVolume, containers: Sequence[str] = ()) -> Writer:
        """Whoever has it is told to let go. Raises Unavailable where that one neither does nor ends."""
        self._wishes.begin(volume.id)
        holder = ""
        try:
            found, lease = self._try(volume, containers)
            if not lease:
                return found
            holder = found.node
            log.warning("volume %s: taking it over from %s", volume.name, holder)
            return self.acquire(volume, containers, 2.0 * self._wished.seconds + 5)
        except WriterElsewhere as error:
            why = f"node {holder} was told to let go of it, goes on renewing its write access, and does not"
            raise Unavailable(f"take over {volume.name}", why, f"Look at the daemon of {holder}") from error
        finally:
            self._wishes.end(volume.id)

    def _try(self, volume: GlobalVolume, containers: Sequence[str]) -> tuple[Writer, int]:
        """The writer, and another's lease: 0 where it is this node."""
        self.check()
        with self._lock:
            if volume.id in self._losing:
                why = "this node is about to lose its write access, and lets go of it first"
                raise _NotYet(f"write to {volume.name}", why, "Try again in a moment")
            if volume.id in self._held:
                return self._held[volume.id], 0
        with self._changing:
            self._arriving, self._is_wished_early = volume.id, False
            while True:
                lease = self._granted()
                writers, epochs, wishes = self._store.transact([], self._reads(volume.id), (), PATIENCE_SECONDS).found
                if writers and writers[0].lease == lease:
                    return self._taken(volume, writer_at(volume.id, writers[0].key, writers[0].value), lease), 0
                if writers:
                    self._wish(volume.id, lease)
                    return writer_at(volume.id, writers[0].key, writers[0].value), writers[0].lease
                if wishes and wishes[0].value != self._node.encode():
                    self._wish(volume.id, lease)
                    return Writer(volume.id, wishes[0].value.decode(errors="replace"), 0, 0), wishes[0].lease or -1
                wished = Writer(volume.id, self._node, _number(epochs) + 1, time.time_ns(), tuple(containers))
                if self._put(wished, epochs, wishes, lease):
                    return self._taken(volume, wished, lease), 0

    def _wish(self, volume_id: str, lease: int) -> None:
        """Where it is being taken over."""
        try:
            self._wishes.put(volume_id, lease)
        except EtcdFault:
            if self._store.renew(lease) > 0:
                raise
            self._lose_all(lease)  # it is put under the next one

    def _reads(self, volume_id: str) -> list[Operation]:
        keys = self._keys
        return [Read(keys.writer(volume_id)), Read(keys.epoch(volume_id)), Read(keys.wish(volume_id))]

    def _put(self, writer: Writer, epochs: Sequence[Entry], wishes: Sequence[Entry], lease: int) -> bool:
        """False when it is to be looked at again: somebody was faster, or the lease had ended."""
        key, counter = self._keys.writer(writer.volume_id), self._keys.epoch(writer.volume_id)
        wish = self._keys.wish(writer.volume_id)
        same = [
            Absent(key),
            Unchanged(counter, epochs[0].changed) if epochs else Absent(counter),
            Unchanged(wish, wishes[0].changed) if wishes else Absent(wish),
        ]
        puts = [Put(counter, str(writer.epoch).encode()), Put(key, render(writer), lease)]
        try:
            return self._store.transact(same, puts, (), PATIENCE_SECONDS).is_done
        except Uncertain:
            with self._lock:
                self._doubtful[key] = lease
            raise
        except EtcdFault:
            if self._store.renew(lease) > 0:
                raise
            self._lose_all(lease)
            return False

    def _taken(self, volume: GlobalVolume, writer: Writer, lease: int) -> Writer:
        with self._lock:
            if self._lease != lease or self._clock() >= self._term.lost_at_ns(self._asked_ns):
                why = "etcd gave write access, and has not been heard of since"
                raise _NotYet(f"write to {volume.name}", why, "Try again when etcd answers")
            self._doubtful.pop(self._keys.writer(volume.id), None)
            self._held[volume.id] = writer
            self._save()
            self._leashes.lengthen(volume.id, writer.epoch, self._term.ends_at_ns(self._asked_ns))
            self._lock.notify_all()
            is_wished, self._arriving = self._is_wished_early, ""
        log.info("volume %s: this node writes, epoch %d", volume.name, writer.epoch)
        if is_wished:
            with suppress(OrlopError):  # once etcd is there again, all wishes are told anew
                self.is_wanted(volume.id, self._wishes.of(volume.id) or self._node)  # what was told may be over
        return writer

    def _granted(self) -> int:
        """The lease of this node. Raises Unavailable."""
        with self._granting:
            with self._lock:
                if self._lease:
                    return self._lease
            lease, asked = secrets.randbits(_ENOUGH_LEASES) + 1, self._clock()
            self._store.grant(lease, self._wished.seconds, PATIENCE_SECONDS)
            with self._lock:
                self._lease, self._asked_ns, self._term = lease, asked, self._wished
                self._save()
                self._lock.notify_all()
                return lease

    def _refusal(self, volume: GlobalVolume, found: Writer, lease: int) -> WriterElsewhere:
        left = -1
        with suppress(OrlopError):
            left = self._store.time_to_live(lease)
        silent_seconds = left + 1 if 0 <= left < self._wished.seconds * 6 // 10 else 0
        return held_elsewhere(volume.name, found, self._node, silent_seconds)

    # Let go

    def release(self, volume_id: str) -> None:
        """Nothing can be written any more. Never raises for a store that is away."""
        key = self._keys.writer(volume_id)
        with self._lock:
            writer = self._held.pop(volume_id, None)
            if writer is None:
                return
            self._doubtful.setdefault(key, self._lease)
            self._leashes.remove(volume_id, writer.epoch)
            self._save()
            self._lock.notify_all()
        self._forget(key)

    def _forget(self, key: str) -> bool:
        """A key that is not meant to be there, any more or at all. False while etcd does not answer."""
        with self._changing:
            with self._lock:
                lease = self._doubtful.get(key)
                if lease is None or self._volume_of(key) in self._held:
                    return True
            try:
                delete_leased(self._store, key, lease)
            except OrlopError as error:
                log.warning("etcd is told later that %s is free: %s", key, error)
                return False
            with self._lock:
                self._doubtful.pop(key, None)
        return True

    def is_wanted(self, volume_id: str, node: str) -> None:
        """By that node, which takes it over."""
        with self._lock:
            if node == self._node or volume_id in self._losing:
                return
            if volume_id not in self._held:
                self._is_wished_early |= volume_id == self._arriving
                return
            self._losing.add(volume_id)
            until = self._term.ends_at_ns(self._asked_ns)
        log.warning("volume %s: node %s takes it over", volume_id, node)
        self._aside(partial(self._lose, volume_id, until), volume_id)

    def _lose_all(self, lease: int) -> None:
        with self._lock:
            if self._lease != lease or not lease:
                return
            lost = [volume_id for volume_id in self._held if volume_id not in self._losing]
            self._losing.update(lost)
            self._lease = 0
            for volume_id in lost:
                self._doubtful[self._keys.writer(volume_id)] = lease
            until = self._term.ends_at_ns(self._asked_ns)
        log.error("etcd does not renew this node's write access: %d volumes are let go of", len(lost))
        for volume_id in lost:
            self._aside(partial(self._lose, volume_id, until), volume_id)

    def _lose(self, volume_id: str, until_ns: int) -> None:
        """The key goes when the engine has let go, and at the end of the leash at the latest: by then the kernel has,
        whatever the engine waits for. This node has it again only after the engine has ended its part."""
        work = LettingGo(self._told, volume_id)
        is_done = work.wait_until_done(lambda: self._clock() >= until_ns or self._closed.is_set())
        if self._closed.is_set():
            return
        if not is_done:
            log.error("volume %s: its leash ended before it was let go of", volume_id)
        self.release(volume_id)
        if work.wait_until_ended(self._closed.is_set):
            with self._lock:
                self._losing.discard(volume_id)

    # Renew

    def renew(self) -> None:
        """Once."""
        with self._lock:
            lease, asked = self._lease, self._clock()
        if not lease:
            return
        try:
            seconds = self._store.renew(lease, max(1.0, self._term.seconds / 4))
        except OrlopError as error:
            log.warning("write access could not be renewed yet: %s", error)
            return
        if seconds <= 0:
            self._lose_all(lease)
            return
        with self._lock:
            if self._lease != lease or asked <= self._asked_ns:
                return
            self._asked_ns, self._term = asked, Term(min(seconds, self._wished.seconds))
            until = self._term.ends_at_ns(asked)
            for volume_id, writer in self._held.items():
                if volume_id not in self._losing:
                    self._leashes.lengthen(volume_id, writer.epoch, until)

    def check(self) -> None:
        """Lets go of everything once it is time to."""
        with self._lock:
            lease = self._lease
            is_late = bool(lease) and self._clock() >= self._term.lost_at_ns(self._asked_ns)
        if is_late:
            self._lose_all(lease)

    def tidy(self) -> None:
        """Keys that are there by mistake, and a lease that nothing is under."""
        with self._lock:
            doubtful = [key for key in self._doubtful if self._volume_of(key) not in self._held]
        for key in doubtful:
            if not self._forget(key):
                return  # asked again
        with self._granting, self._lock:
            if self._lease and not self._held and not self._doubtful and not self._wishes:
                lease, self._lease = self._lease, 0
                self._save()
            else:
                return
        self._give_back(lease)

    def _give_back(self, lease: int) -> None:
        try:
            self._store.revoke(lease)
        except OrlopError as error:
            log.info("a lease that is not needed ends by itself: %s", error)

    def _renewing(self) -> None:
        while not self._closed.is_set():
            self._wait_for(lambda: bool(self._lease or self._doubtful), None)
            self._closed.wait(self._term.renewal_seconds)
            if not self._closed.is_set():
                self.renew()
                self.tidy()

    def _checking(self) -> None:
        while not self._closed.is_set():
            self._wait_for(lambda: bool(self._lease), None)
            self._closed.wait(_LOOK_SECONDS)
            self.check()

    def _wait_for(self, is_so: Callable[[], bool], seconds: float | None) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._closed.is_set() or is_so(), seconds)

    # Records

    def _volume_of(self, key: str) -> str:
        return key.removeprefix(self._keys.writers)

    def _save(self) -> None:
        epochs = {volume_id: writer.epoch for volume_id, writer in self._held.items()}
        write_state(self._state, WritingState(boot_id(), self._lease, epochs))


def _in_a_thread(work: Callable[[], None], volume_id: str) -> None:
    threading.Thread(target=work, name=f"losing {volume_id[:12]}", daemon=True).start()


def _number(entries: Sequence[Entry]) -> int:
    return int(entries[0].value) if entries else 0
