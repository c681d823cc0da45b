"""What this project uses of etcd: keys read and watched below a prefix, transactions that compare before they set, and
leases. Through the JSON gateway that every etcd since 3.4 carries, so that no gRPC is needed.

Keys are text, values bytes. A *revision* counts the changes of the whole store.

What may happen twice without harm (reading, granting a lease whose number the caller chose, renewing, revoking) is
asked of another member when an answer is lost. A transaction is not: it raises Uncertain, and whoever made it looks at
what is there now.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from orlop.cluster.address import Credentials, Endpoint
from orlop.cluster.etcd_link import DEADLINE_SECONDS, EtcdFault, Link, Stream
from orlop.cluster.etcd_wire import (
    KeyValue,
    LeaseAnswer,
    LeaseStream,
    RangeAnswer,
    TransactionAnswer,
    WatchStream,
    decode,
)
from orlop.errors import Unavailable
from orlop.model.value import dataclass

_PAGE = 1000
_NOT_FOUND, _FAILED_PRECONDITION, _OUT_OF_RANGE = 5, 9, 11  # of gRPC


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    created: int  # revisions
    changed: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    entries: Sequence[Entry]
    revision: int  # of the store when they were read


@dataclass(frozen=True, slots=True)
class Outcome:
    is_done: bool  # the comparisons held, so `then` was done; otherwise `otherwise` was
    revision: int
    found: Sequence[Sequence[Entry]]  # of each Read, in their order


@dataclass(frozen=True, slots=True)
class Change:
    """As it was seen by a watch; `value` is None where the key is gone."""

    key: str
    value: bytes | None
    revision: int


# Comparisons


@dataclass(frozen=True, slots=True)
class Absent:
    """No such key; with an `end`, none from `key` up to it."""

    key: str
    end: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    key: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Since that revision, which is an Entry's `changed`."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Holds:
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class LeasedBy:
    key: str
    lease: int


# Operations


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str
    end: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    key: str
    end: str = ""


Comparison = Absent | Present | Unchanged | Holds | LeasedBy
Operation = Put | Delete | Read


class Compacted(Exception):
    """What happened since the wanted revision is not known any more: load anew."""


def after(prefix: str) -> str:
    """The end of the range of all keys that begin with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Etcd:
    """Thread-safe. All calls raise Unavailable, Forbidden or EtcdFault."""

    def __init__(self, endpoints: Sequence[Endpoint], credentials: Credentials | None = None) -> None:
        self._link = Link(endpoints, credentials or Credentials())

    @property
    def requests(self) -> int:
        """How many it sent, for measurements."""
        return self._link.requests

    @property
    def endpoint(self) -> Endpoint:
        """The member that is asked first now."""
        return self._link.endpoint

    def close(self) -> None:
        self._link.close()

    # Keys

    def get(self, key: str, seconds: float = DEADLINE_SECONDS) -> Entry | None:
        """As the majority has it."""
        found = self._range({"key": key.encode()}, seconds)
        return _entry(found.kvs[0]) if found.kvs else None

    def list(self, prefix: str, seconds: float = DEADLINE_SECONDS) -> Found:
        """All keys that begin with the prefix, as of one revision."""
        entries: list[Entry] = []
        revision, start = 0, prefix
        while True:
            wish = {"key": start.encode(), "range_end": after(prefix).encode(), "limit": _PAGE, "revision": revision}
            page = self._range(wish, seconds)
            revision = revision or page.header.revision
            entries += [_entry(kv) for kv in page.kvs]
            if not page.more:
                return Found(entries, revision)
            start = entries[-1].key + "\0"

    def _range(self, wish: dict[str, Any], seconds: float) -> RangeAnswer:
        return decode(RangeAnswer, self._link.call("/v3/kv/range", wish, is_repeatable=True, seconds=seconds))

    def transact(
        self,
        comparisons: Sequence[Comparison],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        seconds: float = DEADLINE_SECONDS,
    ) -> Outcome:
        """All or nothing. Raises Uncertain where it may have happened."""
        wish = {
            "compare": [_comparison(comparison) for comparison in comparisons],
            "success": [_operation(operation) for operation in then],
            "failure": [_operation(operation) for operation in otherwise],
        }
        only_reads = all(isinstance(operation, Read) for operation in (*then, *otherwise))
        data = self._link.call("/v3/kv/txn", wish, is_repeatable=only_reads, seconds=seconds)
        answer = decode(TransactionAnswer, data)
        found = [part.response_range for part in answer.responses if part.response_range is not None]
        return Outcome(answer.succeeded, answer.header.revision, [[_entry(kv) for kv in each.kvs] for each in found])

    # Leases

    def grant(self, lease: int, ttl_seconds: int, seconds: float = DEADLINE_SECONDS) -> None:
        """`lease` is any positive 63-bit number that nobody else thinks of. Granted already is success."""
        try:
            wish = {"ID": lease, "TTL": ttl_seconds}
            self._link.call("/v3/lease/grant", wish, is_repeatable=True, seconds=seconds)
        except EtcdFault as error:
            if error.code != _FAILED_PRECONDITION:
                raise

    def renew(self, lease: int, seconds: float = DEADLINE_SECONDS) -> int:
        """Seconds that it has from some moment after this was sent; 0 when it ended."""
        data = self._link.call("/v3/lease/keepalive", {"ID": lease}, is_repeatable=True, seconds=seconds)
        return decode(LeaseStream, data).result.TTL

    def revoke(self, lease: int, seconds: float = DEADLINE_SECONDS) -> None:
        """It ends, and its keys are gone. Ended already is success."""
        try:
            self._link.call("/v3/lease/revoke", {"ID": lease}, is_repeatable=True, seconds=seconds)
        except EtcdFault as error:
            if error.code != _NOT_FOUND:
                raise

    def time_to_live(self, lease: int, seconds: float = DEADLINE_SECONDS) -> int:
        """Seconds left; -1 when it ended."""
        data = self._link.call("/v3/lease/timetolive", {"ID": lease}, is_repeatable=True, seconds=seconds)
        return decode(LeaseAnswer, data).TTL

    # Watching

    def watch(self, prefix: str, revision: int, seconds: float = DEADLINE_SECONDS) -> "Watch":
        """What happens to the keys that begin with the prefix from that revision on (that one included). Raises
        Compacted."""
        wish = {"key": prefix.encode(), "range_end": after(prefix).encode(), "start_revision": revision}
        stream = self._link.stream("/v3/watch", {"create_request": wish}, seconds)
        watch = Watch(stream)
        try:
            watch.begin(seconds)
        except BaseException:
            stream.release()
            raise
        return watch


class Watch:
    """Read by one thread, closed by any."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._first: list[Change] = []
        self.revision = 0  # of the store when it began

    @property
    def endpoint(self) -> Endpoint:
        return self._stream.endpoint

    def begin(self, seconds: float) -> None:
        """Until etcd says that it watches."""
        is_begun = False
        while not is_begun:
            is_begun, changes = self._next(seconds)
            self._first += changes

    def changes(self) -> Iterator[Sequence[Change]]:
        """Those of one or more whole revisions at a time. Ends when closed. Raises Unavailable when the connection is
        lost, Compacted."""
        if self._first:
            yield self._first
        try:
            while True:
                _, changes = self._next(None)
                if changes:
                    yield changes
        finally:
            self._stream.release()

    def close(self) -> None:
        """`changes` raises Unavailable in whoever waits there."""
        self._stream.close()

    def _next(self, seconds: float | None) -> tuple[bool, Sequence[Change]]:
        line = self._stream.line(seconds)
        if not line:
            raise Unavailable("cluster", f"etcd at {self._stream.endpoint} ended the watch")
        try:
            answer = decode(WatchStream, line)
        except msgspec.DecodeError as error:
            raise Unavailable("cluster", f"etcd at {self._stream.endpoint} broke off: {error}") from error
        if answer.result is None:
            raise Unavailable("cluster", f"etcd at {self._stream.endpoint} broke off: {answer.error}")
        if answer.result.compact_revision:
            raise Compacted
        if answer.result.canceled:
            raise Unavailable(
                "cluster", f"etcd ended the watch: {answer.result.cancel_reason or 'it does not say why'}"
            )
        if answer.result.created:
            self.revision = answer.result.header.revision
        return answer.result.created, [
            Change(
                event.kv.key.decode(errors="replace"),
                None if event.type == "DELETE" else event.kv.value,
                event.kv.mod_revision,
            )
            for event in answer.result.events
        ]


def _entry(kv: KeyValue) -> Entry:
    return Entry(kv.key.decode(errors="replace"), kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def _comparison(comparison: Comparison) -> dict[str, Any]:
    wish: dict[str, Any] = {"key": comparison.key.encode(), "result": "EQUAL"}
    match comparison:
        case Absent(_, end):
            wish |= {"target": "VERSION", "version": 0} | ({"range_end": end.encode()} if end else {})
        case Present():
            wish |= {"target": "VERSION", "version": 0, "result": "GREATER"}
        case Unchanged(_, revision):
            wish |= {"target": "MOD", "mod_revision": revision}
        case Holds(_, value):
            wish |= {"target": "VALUE", "value": value}
        case LeasedBy(_, lease):
            wish |= {"target": "LEASE", "lease": lease}
    return wish


def _operation(operation: Operation) -> dict[str, Any]:
    match operation:
        case Put(key, value, lease):
            return {"request_put": {"key": key.encode(), "value": value, "lease": lease}}
        case Delete(key, end):
            return {"request_delete_range": _range_of(key, end)}
        case Read(key, end):
            return {"request_range": _range_of(key, end)}


def _range_of(key: str, end: str) -> dict[str, Any]:
    return {"key": key.encode()} | ({"range_end": end.encode()} if end else {})
