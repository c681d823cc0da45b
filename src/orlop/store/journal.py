"""The journal: identity and wishes, in SQLite, durable when a call returns.

One table a kind of record, each row an id and the record's JSON (msgspec encodes the frozen values of orlop.model).
The engine keeps the records in memory and writes through: the journal is read at start and written at each change.

    journal.db   SQLite, WAL, synchronous=FULL; owner: this module; lock: <data-root>/orlop/lock, held by the daemon

Whatever has queued up while one caller was writing is committed in one transaction by the next, so that many share the
cost of one fsync; a lone caller waits for no other thread. A caller's changes are atomic: all of them are in the
journal, or none.
"""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orlop.errors import HostFailure
from orlop.model.value import dataclass
from orlop.store.journal_file import recovery_hint

log = logging.getLogger(__name__)

T = TypeVar("T")

KINDS = (
    *("containers", "images", "layers", "tags", "networks", "settings", "operations"),
    *("volumes", "retired", "uses", "facts", "plugins", "departures", "arrivals"),
)

NOTES_SECONDS = 2.0
_LOG_BYTES = 5_000_000  # a little more than SQLite lets the log become before it starts over (1000 pages)
_QUIET_SECONDS = 0.2  # after the start, until there is time for growing the log


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
_Batch = tuple[_Statements, "Future[None]"]


class Journal:
    """Opened once by the daemon, which holds the data root's lock."""

    def __init__(self, path: Path) -> None:
        """Raises HostFailure when the file cannot be opened or is no journal."""
        self._path = path
        self._waiting: deque[_Batch] = deque()
        self._using = threading.Lock()  # the database: a rollback would end what is just being read
        self._something = threading.Event()  # is there for the thread to write
        self._at_once = threading.Event()
        self._closing = False
        self.changes = 0  # transactions since it was opened
        try:
            _keep_for_owner(path)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            for kind in KINDS:
                self._database.execute(
                    f"CREATE TABLE IF NOT EXISTS {kind} (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID"
                )
        except sqlite3.OperationalError as error:
            raise HostFailure(f"journal {path}", str(error), "Check that the disk is writable and has room") from error
        except OSError as error:
            raise HostFailure(f"journal {path}", f"{error.strerror}", "Check that the disk is writable") from error
        except sqlite3.Error as error:
            raise HostFailure(f"journal {path}", f"it is damaged: {error}", recovery_hint(path)) from error
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        self._thread.start()

    def load(self, kind: str, record_type: type[T]) -> dict[str, T]:
        """All records of a kind by id. Called at start. Raises HostFailure where they cannot be read."""
        assert kind in KINDS
        try:
            decode = msgspec.json.Decoder(record_type).decode
            # Row by row: what is read all at once stays with the process as memory that it never needs again.
            select = f"SELECT id, record FROM {kind}"  # noqa: S608 - one of KINDS
            with self._using, closing(self._database.execute(select)) as rows:
                return {row_id: decode(record) for row_id, record in rows}
        except sqlite3.DatabaseError as error:
            raise HostFailure(f"journal {self._path}", f"it is damaged: {error}", recovery_hint(self._path)) from error
        except msgspec.DecodeError as error:
            why = f"a record of '{kind}' is unreadable: {error}"
            raise HostFailure(f"journal {self._path}", why, recovery_hint(self._path)) from error

    def commit(self, *changes: Change) -> None:
        """Make all changes durable together; returns when they survive a power cut. Raises HostFailure."""
        done = self._enqueue(changes)
        self._write_waiting()
        done.result()

    def submit(self, changes: Sequence[Change]) -> "Future[None]":
        """Like `commit` without waiting: the future ends when the changes are durable."""
        done = self._enqueue(changes)
        self._at_once.set()
        self._something.set()
        return done

    def note(self, *changes: Change) -> None:
        """For what a crash may lose: written along with the next commit, or after a moment in which there was none.
        Costs nobody a wait for the disk."""
        self._enqueue(changes)
        self._something.set()

    def _enqueue(self, changes: Sequence[Change]) -> "Future[None]":
        done: Future[None] = Future()
        self._waiting.append((_statements(changes), done))
        return done

    def close(self) -> None:
        self._closing = True
        self._at_once.set()
        self._something.set()
        self._thread.join()
        with self._using:
            self._database.close()

    def _write_waiting(self) -> None:
        """Whoever comes first writes for all who came meanwhile; those find their changes written when it is their
        turn."""
        with self._using:
            batch: list[_Batch] = []
            while self._waiting:
                batch.append(self._waiting.popleft())
            if batch:
                self._write(batch)

    def _write_forever(self) -> None:
        """For those who do not wait."""
        self._something.wait(_QUIET_SECONDS)
        with self._using:
            self._grow_log()
        while not self._closing:
            self._something.wait()
            self._something.clear()
            self._at_once.wait(NOTES_SECONDS)
            self._at_once.clear()
            self._write_waiting()
        self._write_waiting()

    def _grow_log(self) -> None:
        """Let the write-ahead log have its full size from the beginning. A commit that makes a file longer waits for
        the file system's own journal as well, one that overwrites waits a quarter as long. What a transaction that is
        rolled back spilled stays in the file as room, and SQLite writes over it."""
        log_path = self._path.with_name(f"{self._path.name}-wal")
        try:
            if log_path.stat().st_size >= _LOG_BYTES:
                return
            self._database.execute("PRAGMA cache_size=10")  # so small that it spills
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("CREATE TABLE room (filler BLOB)")
            for _ in range(5):
                self._database.execute("INSERT INTO room VALUES (zeroblob(?))", (_LOG_BYTES // 5,))
            self._database.execute("ROLLBACK")
            with log_path.open("rb") as file:
                os.fsync(file.fileno())
        except (sqlite3.Error, OSError) as error:
            log.info("the journal's log stays short, and commits a little slower: %s", error)
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        self._database.execute("PRAGMA cache_size=-2000")  # SQLite's default

    def _write(self, batch: list[_Batch]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statements, _ in batch:
                for sql, alike in groupby(statements, itemgetter(0)):
                    self._database.executemany(sql, [parameters for _, parameters in alike])
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
        self.changes += 1
        for _, done in batch:
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


def _keep_for_owner(path: Path) -> None:
    """Options of volumes may hold passwords. The files that SQLite makes beside it get the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for ending in ("", "-wal", "-shm"):
        file = path.with_name(path.name + ending)
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)
