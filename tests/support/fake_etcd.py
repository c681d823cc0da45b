"""What of etcd write access is built on, in memory: keys, transactions, leases, under a clock that the test moves.

Answers can be lost, before or after what was asked was done, and a node can be cut off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from orlop.cluster.etcd import (
    Absent,
    Comparison,
    Delete,
    Entry,
    Holds,
    LeasedBy,
    Operation,
    Outcome,
    Present,
    Put,
    Read,
    Unchanged,
)
from orlop.cluster.etcd_link import EtcdFault, Uncertain
from orlop.errors import Unavailable

T = TypeVar("T")


@dataclass
class FakeEtcd:
    clock: Callable[[], int]
    revision: int = 1
    entries: dict[str, Entry] = field(default_factory=dict)
    leases: dict[int, tuple[int, int]] = field(default_factory=dict)  # seconds, when it ends

    def expire(self) -> None:
        for lease in [lease for lease, (_, ends) in self.leases.items() if ends <= self.clock()]:
            self.revoke(lease)

    def revoke(self, lease: int) -> None:
        del self.leases[lease]
        for key in [key for key, entry in self.entries.items() if entry.lease == lease]:
            del self.entries[key]

    def holds(self, comparison: Comparison) -> bool:
        found = self.entries.get(comparison.key)
        match comparison:
            case Absent():
                return found is None
            case Present():
                return found is not None
            case Holds(_, value):
                return found is not None and found.value == value
            case Unchanged(_, revision):
                return found is not None and found.changed == revision
            case LeasedBy(_, lease):
                return found is not None and found.lease == lease
            case _:
                raise NotImplementedError

    def do(self, operations: Sequence[Operation]) -> list[list[Entry]]:
        if any(isinstance(each, Put) and each.lease and each.lease not in self.leases for each in operations):
            raise EtcdFault(5, "requested lease not found")
        found = []
        self.revision += 1
        for operation in operations:
            match operation:
                case Put(key, value, lease):
                    self.entries[key] = Entry(key, value, self.revision, self.revision, lease)
                case Delete(key):
                    self.entries.pop(key, None)
                case Read(key):
                    found.append([self.entries[key]] if key in self.entries else [])
        return found


@dataclass
class FakeClient:
    """One node's way to it. `fate` of the next call: "", "cut", "lost before", "lost after"; "cut" stays."""

    etcd: FakeEtcd
    fate: str = ""

    def _ask(self, work: Callable[[], T]) -> T:
        self.etcd.expire()
        fate = self.fate
        if fate == "cut":
            raise Unavailable("cluster", "cut off")
        self.fate = ""
        if fate == "lost before":
            raise Uncertain("cluster", "lost")
        done = work()
        if fate == "lost after":
            raise Uncertain("cluster", "lost")
        return done

    def transact(
        self,
        comparisons: Sequence[Comparison],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        seconds: float = 0.0,
    ) -> Outcome:
        def work() -> Outcome:
            is_done = all(self.etcd.holds(each) for each in comparisons)
            return Outcome(is_done, self.etcd.revision, self.etcd.do(then if is_done else otherwise))

        return self._ask(work)

    def grant(self, lease: int, ttl_seconds: int, seconds: float = 0.0) -> None:
        ends = self.etcd.clock() + ttl_seconds * 1_000_000_000
        self._ask(lambda: self.etcd.leases.setdefault(lease, (ttl_seconds, ends)))

    def renew(self, lease: int, seconds: float = 0.0) -> int:
        def work() -> int:
            if lease not in self.etcd.leases:
                return 0
            ttl = self.etcd.leases[lease][0]
            self.etcd.leases[lease] = (ttl, self.etcd.clock() + ttl * 1_000_000_000)
            return ttl

        return self._ask(work)

    def revoke(self, lease: int, seconds: float = 0.0) -> None:
        self._ask(lambda: self.etcd.revoke(lease) if lease in self.etcd.leases else None)

    def time_to_live(self, lease: int, seconds: float = 0.0) -> int:
        def work() -> int:
            ends = self.etcd.leases.get(lease, (0, -1_000_000_000 + self.etcd.clock()))[1]
            return (ends - self.etcd.clock()) // 1_000_000_000

        return self._ask(work)
