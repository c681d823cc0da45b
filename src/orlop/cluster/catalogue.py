"""What is written to the catalogue: volumes published, changed, withdrawn; uses begun and ended.

Each write is a transaction that compares before it sets, first of all whether this is still the same cluster. An answer
that was lost is no answer: the same is asked again, and each wish is made so that the second time finds what the first
one did. Not for long: of an etcd that hangs nobody can tell that it is not merely slow, so the first who waits in vain
says so to all (follower), and who comes after is refused at once.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from orlop.cluster.copy import Copy, Stored
from orlop.cluster.etcd import (
    Absent,
    Change,
    Comparison,
    Delete,
    Etcd,
    Holds,
    Operation,
    Outcome,
    Put,
    Read,
    Unchanged,
    after,
)
from orlop.cluster.etcd_link import PATIENCE_SECONDS, Uncertain
from orlop.cluster.follower import Follower
from orlop.cluster.keys import Keys, parse, render
from orlop.errors import Conflict, NotFound, OrlopError, Unavailable
from orlop.model.cluster import GlobalUse, GlobalVolume

T = TypeVar("T")


class Catalogue:
    """Thread-safe."""

    def __init__(self, etcd: Etcd, keys: Keys, copy: Copy, follower: Follower, node: str) -> None:
        self._etcd = etcd
        self._keys = keys
        self._copy = copy
        self._follower = follower
        self._node = node

    # Volumes

    def publish(self, volume: GlobalVolume) -> GlobalVolume:
        key, value = self._keys.volume(volume.name), render(volume)

        def attempt() -> GlobalVolume | None:
            done = self.transact([Absent(key)], [Put(key, value)], [Read(key)])
            if done.is_done:
                self._note(Change(key, value, done.revision))
                return volume
            if not done.found[0]:
                return None
            found = parse(GlobalVolume, key, done.found[0][0].value)
            self._note(Change(key, done.found[0][0].value, done.found[0][0].changed))
            if found.id == volume.id or found.is_as_wished(volume.driver, volume.options):
                return found
            raise taken(volume.name, found)

        return self._until_it_is_so(attempt)

    def change(self, volume: GlobalVolume) -> None:
        def changed(now: GlobalVolume) -> GlobalVolume:
            return replace(volume, identity=now.identity, bound=now.bound, coming=now.coming)

        self._change(volume, changed)

    def identify(self, volume: GlobalVolume, identity: str) -> str:
        def changed(now: GlobalVolume) -> GlobalVolume:
            return replace(now, identity=now.identity or identity)

        return self._change(volume, changed).identity

    def unbind(self, volume: GlobalVolume) -> None:
        def changed(now: GlobalVolume) -> GlobalVolume:
            return replace(now, bound="" if now.bound == volume.bound else now.bound)

        self._change(volume, changed)

    def reveal(self, volume: GlobalVolume) -> None:
        self._change(volume, lambda now: replace(now, coming=""))

    def _change(self, volume: GlobalVolume, change: Callable[[GlobalVolume], GlobalVolume]) -> GlobalVolume:
        key = self._keys.volume(volume.name)

        def attempt() -> GlobalVolume | None:
            now = self._stored(volume)
            if now is None:
                raise NotFound(f"volume {volume.name}", "it was removed from the cluster meanwhile")
            changed = change(now.volume)
            if changed == now.volume:
                return changed
            value = render(changed)
            done = self.transact([Unchanged(key, now.revision)], [Put(key, value)])
            if done.is_done:
                self._note(Change(key, value, done.revision))
            return changed if done.is_done else None

        return self._until_it_is_so(attempt)

    def withdraw(self, volume: GlobalVolume) -> None:
        key, own = self._keys.volume(volume.name), self._keys.uses_of(volume.id, self._node)
        elsewhere = self._keys.uses_elsewhere(volume.id, self._node)

        def attempt() -> bool | None:
            now = self._stored(volume)
            if now is None:
                return True
            if now.volume.coming not in ("", self._node):
                raise still_coming(now.volume)
            unused: list[Comparison] = [Absent(start, end) for start, end in elsewhere]
            reads: list[Operation] = [Read(start, end) for start, end in elsewhere]
            done = self.transact([Unchanged(key, now.revision), *unused], [Delete(key), Delete(own, after(own))], reads)
            if done.is_done:
                self._note(Change(key, None, done.revision))
                return True
            users = [parse(GlobalUse, entry.key, entry.value) for entries in done.found for entry in entries]
            if users:
                raise in_use(volume.name, users[0], len(users))
            return None

        self._until_it_is_so(attempt)

    def _stored(self, volume: GlobalVolume) -> Stored | None:
        """As it is in the store now; None where it is not, or another one has the name."""
        key = self._keys.volume(volume.name)
        entry = self._ask(lambda: self._etcd.get(key, PATIENCE_SECONDS))
        if entry is None or (found := parse(GlobalVolume, key, entry.value)).id != volume.id:
            return None
        return Stored(found, entry.changed)

    # Uses

    def begin_use(self, use: GlobalUse) -> None:
        key, value = self._keys.use(use), render(use)

        def attempt() -> bool | None:
            stored = self._copy.find_by_id(use.volume_id)
            if stored is None:
                raise NotFound(f"volume {use.volume_id[:12]}", "it was removed from the cluster meanwhile")
            if stored.volume.coming not in ("", self._node):
                raise still_coming(stored.volume)
            volume = self._keys.volume(stored.volume.name)
            done = self.transact([Unchanged(volume, stored.revision)], [Put(key, value)], [Read(volume)])
            if done.is_done:
                self._note(Change(key, value, done.revision))
                return True
            now = done.found[0][0] if done.found[0] else None
            if now is None or parse(GlobalVolume, volume, now.value).id != use.volume_id:
                raise NotFound(f"volume {stored.volume.name}", "it was removed from the cluster meanwhile")
            self._note(Change(volume, now.value, now.changed))
            return None

        self._until_it_is_so(attempt)

    def end_use(self, key: str) -> None:
        done = self._until_it_is_so(lambda: self.transact([], [Delete(key)]))
        self._note(Change(key, None, done.revision))

    # How it is asked

    def transact(
        self, comparisons: list[Comparison], then: list[Operation], otherwise: list[Operation] | None = None
    ) -> Outcome:
        identity = self._copy.identity
        same = Holds(self._keys.cluster, identity)
        or_else = [*(otherwise or []), Read(same.key)]
        done = self._ask(lambda: self._etcd.transact([same, *comparisons], then, or_else, PATIENCE_SECONDS))
        if not done.is_done and [entry.value for entry in done.found[-1]] != [identity]:
            error = Unavailable("cluster", "etcd does not hold the cluster any more that this node belongs to")
            self._follower.failed(error)
            raise error
        return done if done.is_done else replace(done, found=done.found[:-1])

    def _ask(self, ask: Callable[[], T]) -> T:
        self._follower.require()
        try:
            return ask()
        except Uncertain:
            raise
        except Unavailable as error:
            self._follower.failed(error)
            raise

    def _until_it_is_so(self, attempt: Callable[[], T | None]) -> T:
        """None from an attempt: somebody else was faster, look again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        last: OrlopError = Unavailable("cluster", "others change the same all the time", "Try again")
        while time.monotonic() < deadline:
            try:
                done = attempt()
            except Uncertain as error:
                last = error
                continue
            if done is not None:
                return done
        self._follower.failed(last)
        raise last

    def _note(self, change: Change) -> None:
        self._copy.apply([change], is_from_watch=False)


def taken(name: str, by: GlobalVolume) -> Conflict:
    why = f"driver '{by.driver}' already has volume '{name}' in the cluster, made on node {by.node}"
    return Conflict(f"create {name}", f"{why}, with other options: volume name must be unique", "Choose another name")


def still_coming(volume: GlobalVolume) -> Unavailable:
    hint = f"Wait for the end of that; if that host is gone for good: orlop node rm {volume.coming}"
    return Unavailable(f"volume {volume.name}", volume.why_coming, hint)


def in_use(name: str, use: GlobalUse, count: int) -> Conflict:
    more = f" and {count - 1} more" if count > 1 else ""
    why = f"volume is in use on node {use.node} - [container {use.container}{more}]"
    return Conflict(f"remove {name}", why, f"Remove what uses it first: orlop volume where {name}")
