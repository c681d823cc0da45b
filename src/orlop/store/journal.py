"""The journal: identity and wishes, in SQLite, durable when a call returns.

One table a kind of record, each row an id and the record's JSON (msgspec encodes the frozen values of orlop.model).
The engine keeps the records in memory and writes through: the journal is read at start and written at each change.

    journal.db   SQLite, WAL, synchronous=FULL; owner: this module; lock: <data-root>/orlop/lock, held by the daemon

All writes go through one thread that commits whatever has queued up in one transaction, so that many callers share
the cost of one fsync. A caller's changes are atomic: all of them are in the journal, or none.
"""

import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orlop.errors import HostFailure
from orlop.store.journal_file import recovery_hint

T = TypeVar("T")

KINDS = (
    *("containers", "images", "layers", "tags", "networks", "settings", "operations"),
    *("volumes", "retired", "uses", "facts"),
)


@dataclass(frozen=True, slots=True)
class Put:
    kind: str
    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class Drop:
    kind: str
    id: str


Change = Put | Drop

_Statements = list[tuple[str, tuple[Any, ...]]]
_Batch = tuple[_Statements, "Future[None]", bool]  # the last: somebody wants it written now

NOTES_SECONDS = 2.0


class Journal:
    """Opened once by the daemon, which holds the data root's lock."""

    def __init__(self, path: Path) -> None:
        """Raises HostFailure when the file cannot be opened or is no journal."""
        self._path = path
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            for kind in KINDS:
                self._database.execute(
                    f"CREATE TABLE IF NOT EXISTS {kind} (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID"
                )
        except sqlite3.OperationalError as error:
            raise HostFailure(f"journal {path}", str(error), "Check that the disk is writable and has room") from error
        except sqlite3.Error as error:
            raise HostFailure(f"journal {path}", f"it is damaged: {error}", recovery_hint(path)) from error
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        self._thread.start()

    def load(self, kind: str, record_type: type[T]) -> dict[str, T]:
        """All records of a kind by id. Called at start. Raises HostFailure where they cannot be read."""
        assert kind in KINDS
        try:
            rows = self._database.execute(f"SELECT id, record FROM {kind}").fetchall()  # noqa: S608 - one of KINDS
            return {row_id: msgspec.json.decode(record, type=record_type) for row_id, record in rows}
        except sqlite3.DatabaseError as error:
            raise HostFailure(f"journal {self._path}", f"it is damaged: {error}", recovery_hint(self._path)) from error
        except msgspec.DecodeError as error:
            why = f"a record of '{kind}' is unreadable: {error}"
            raise HostFailure(f"journal {self._path}", why, recovery_hint(self._path)) from error

    def commit(self, *changes: Change) -> None:
        """Make all changes durable together; returns when they survive a power cut. Raises HostFailure."""
        self.submit(changes).result()

    def submit(self, changes: Sequence[Change]) -> "Future[None]":
        """Like `commit` without waiting: the future ends when the changes are durable."""
        done: Future[None] = Future()
        self._queue.put((_statements(changes), done, True))
        return done

    def note(self, *changes: Change) -> None:
        """For what a crash may lose: written along with the next commit, or after a moment in which there was none.
        Costs nobody a wait for the disk."""
        self._queue.put((_statements(changes), Future(), False))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._database.close()

    def _write_forever(self) -> None:
        goes_on = True
        while goes_on:
            batch, goes_on = self._gather()
            if batch:
                self._write(batch)

    def _gather(self) -> tuple[list[_Batch], bool]:
        """What to write in one transaction, and whether there may be more."""
        batch: list[_Batch] = []
        is_wanted_now, deadline = False, 0.0
        while True:
            wait = None if not batch else 0.0 if is_wanted_now else max(0.0, deadline - time.monotonic())
            try:
                item = self._queue.get(timeout=wait)
            except queue.Empty:
                return batch, True
            if item is None:
                return batch, False
            if not batch:
                deadline = time.monotonic() + NOTES_SECONDS
            batch.append(item)
            is_wanted_now = is_wanted_now or item[2]

    def _write(self, batch: list[_Batch]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statements, *_ in batch:
                for sql, parameters in statements:
                    self._database.execute(sql, parameters)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if len(batch) > 1:
                # One caller's trouble (a record too large for what is left of the disk) is not the others'.
                for item in batch:
                    self._write([item])
                return
            failure = HostFailure(f"journal {self._path}", str(error), "Free some disk space or make it writable")
            failure.__cause__ = error
            batch[0][1].set_exception(failure)
            return
        for _, done, _ in batch:
            done.set_result(None)


def _statements(changes: Sequence[Change]) -> _Statements:
    statements: _Statements = []
    for change in changes:
        assert change.kind in KINDS
        match change:
            case Put(kind, record_id, value):
                sql = f"INSERT INTO {kind} VALUES (?, ?) ON CONFLICT(id) DO UPDATE SET record=excluded.record"  # noqa: S608
                statements.append((sql, (record_id, msgspec.json.encode(value))))
            case Drop(kind, record_id):
                statements.append((f"DELETE FROM {kind} WHERE id=?", (record_id,)))  # noqa: S608
    return statements
