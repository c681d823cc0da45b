"""What the receiver of a mirror has, as its sender knows it: on disk, because a tree may have millions of entries.

An *entry* is a name in a directory; a *node* is what it names, a file with several names being one. The index always
says what the receiver has once it has heeded all that was said to it: each word that changes something there changes
the index too. `key` says which node of the source it is a copy of, by what tells a file from others now.

It is of use to this one sender only, so nothing of it is synced, and nobody finds it after a crash.
"""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

from orlop.model.value import dataclass

ROOT = 1
_TOGETHER = 1000

_SCHEMA = """
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    key TEXT UNIQUE,            -- of the source, NULL where it is a copy of nothing that is there still
    kind INTEGER NOT NULL,      -- S_IFMT
    changed INTEGER NOT NULL,   -- st_ctime_ns when it was read, 0 where it was not settled
    size INTEGER NOT NULL,
    read_at INTEGER NOT NULL,   -- when the pass began that read it
    facts BLOB NOT NULL,
    atime INTEGER NOT NULL,
    digest BLOB NOT NULL,
    walked INTEGER NOT NULL,    -- the last pass that went through this directory
    unfit INTEGER NOT NULL      -- a directory whose attributes are still to be given to it
);
CREATE TABLE entries (
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    node INTEGER NOT NULL,
    pass INTEGER NOT NULL,      -- the last one that saw it
    checked INTEGER NOT NULL,   -- compared with the receiver's since it was last changed
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX names ON entries (node);
CREATE INDEX unfit ON nodes (id) WHERE unfit;
CREATE TABLE blocks (node INTEGER NOT NULL, stretch INTEGER NOT NULL, digests BLOB NOT NULL,
                     PRIMARY KEY (node, stretch)) WITHOUT ROWID;
CREATE TABLE waiting (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, path BLOB NOT NULL);
CREATE TABLE again (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, parent INTEGER NOT NULL, name BLOB NOT NULL);
CREATE TABLE twins (node INTEGER PRIMARY KEY, there INTEGER NOT NULL);
CREATE TABLE gone (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL)
"""
_COLUMNS = "n.id, n.key, n.kind, n.changed, n.size, n.read_at, n.facts, n.atime, n.digest"


@dataclass(slots=True)
class Node:
    id: int
    key: str | None
    kind: int
    changed: int
    size: int
    read_at: int
    facts: bytes
    atime: int
    digest: bytes
    is_fresh: bool = False  # nothing of it was compared


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry that is to be compared."""

    name: bytes
    node: Node
    links: int


class Index:
    """Not thread-safe."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where the file has its bytes while it is in use; it has no name there."""
        path = "" if folder is None else str(folder / f".mirror-{token_hex(8)}")
        self._spoilt_last = 0
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        try:
            self._make()
        except BaseException:
            self._db.close()
            raise
        finally:
            if path:
                Path(path).unlink(missing_ok=True)

    def _make(self) -> None:
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA cache_size = -16384")
        self._db.execute("PRAGMA temp_store = FILE")
        self._db.execute("BEGIN")
        for statement in _SCHEMA.split(";\n"):
            self._db.execute(statement)
        self._db.execute("INSERT INTO nodes VALUES (?, NULL, ?, 0, 0, 0, x'', 0, x'', 0, 0)", (ROOT, stat.S_IFDIR))

    def close(self) -> None:
        self._db.close()

    def root(self) -> Node:
        return self._node("WHERE n.id = ?", (ROOT,))  # type: ignore[return-value]

    def find(self, parent: int, name: bytes) -> Node | None:
        return self._node("JOIN entries e ON e.node = n.id WHERE e.parent = ? AND e.name = ?", (parent, name))

    def by_key(self, key: str) -> Node | None:
        return self._node("WHERE n.key = ?", (key,))

    def _node(self, where: str, values: tuple[object, ...]) -> Node | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM nodes n {where}", values).fetchone()  # noqa: S608
        return Node(*row) if row else None

    # What is there

    def see(self, parent: int, name: bytes, number: int) -> None:
        self._db.execute("UPDATE entries SET pass = ? WHERE parent = ? AND name = ?", (number, parent, name))

    def names(self, node: int, number: int) -> list[tuple[int, bytes, bool]]:
        """Where it is: directory, name, whether this pass has seen it there. A few of them, those first that it has
        not."""
        query = "SELECT parent, name, pass = ? FROM entries WHERE node = ? ORDER BY pass = ? LIMIT 2"
        return [(parent, name, bool(seen)) for parent, name, seen in self._db.execute(query, (number, node, number))]

    def path(self, node: int) -> bytes:
        """Below the top. A directory has one."""
        parts: list[bytes] = []
        while node != ROOT:
            parent, name = self._db.execute("SELECT parent, name FROM entries WHERE node = ?", (node,)).fetchone()
            parts.append(name)
            node = parent
        return b"/".join(reversed(parts))

    # What changes there, and in the directory that it is in

    def add(self, parent: int, name: bytes, kind: int, key: str | None, number: int) -> Node:
        """A node of which nothing is known yet but where it is: see `save`."""
        cursor = self._db.execute(
            "INSERT INTO nodes VALUES (NULL, ?, ?, 0, 0, 0, x'', 0, x'', 0, ?)", (key, kind, kind == stat.S_IFDIR)
        )
        assert cursor.lastrowid is not None
        self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, 0)", (parent, name, cursor.lastrowid, number))
        self.spoil(parent)
        return Node(cursor.lastrowid, key, kind, 0, 0, 0, b"", 0, b"", is_fresh=True)

    def link(self, parent: int, name: bytes, node: int, number: int) -> None:
        self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, 0)", (parent, name, node, number))
        self._db.execute("UPDATE entries SET checked = 0 WHERE node = ?", (node,))
        self.spoil(parent)

    def unlink(self, parent: int, name: bytes) -> None:
        """With all that is below it."""
        found = self.find(parent, name)
        if found is None:
            return
        self._db.execute("DELETE FROM entries WHERE parent = ? AND name = ?", (parent, name))
        self.spoil(parent)
        self._release(found.id)
        if found.kind == stat.S_IFDIR:
            self._unlink_below(found.id)

    def _unlink_below(self, directory: int) -> None:
        waiting = [directory]  # directories only
        while waiting:
            top = waiting[-1]
            rows = self._db.execute(
                "SELECT e.name, n.id, n.kind FROM entries e JOIN nodes n ON n.id = e.node WHERE e.parent = ? LIMIT ?",
                (top, _TOGETHER),
            ).fetchall()
            if not rows:
                waiting.pop()
                continue
            for name, node, kind in rows:
                self._db.execute("DELETE FROM entries WHERE parent = ? AND name = ?", (top, name))
                self._release(node)
                if kind == stat.S_IFDIR:
                    waiting.append(node)

    def _release(self, node: int) -> None:
        """A node without a name is no more."""
        if self._db.execute("SELECT 1 FROM entries WHERE node = ? LIMIT 1", (node,)).fetchone() is None:
            self._db.execute("DELETE FROM nodes WHERE id = ?", (node,))
            self._db.execute("DELETE FROM blocks WHERE node = ?", (node,))
            self._db.execute("DELETE FROM twins WHERE node = ?", (node,))
        else:
            self._db.execute("UPDATE entries SET checked = 0 WHERE node = ?", (node,))  # it has a link less

    def move(self, old: tuple[int, bytes], new: tuple[int, bytes], number: int) -> None:
        self._db.execute(
            "UPDATE entries SET parent = ?, name = ?, pass = ?, checked = 0 WHERE parent = ? AND name = ?",
            (*new, number, *old),
        )
        self.spoil(old[0])
        self.spoil(new[0])

    def set_key(self, node: int, key: str | None) -> None:
        self._db.execute("UPDATE nodes SET key = ? WHERE id = ?", (key, node))

    def save(self, node: Node, is_changed: bool) -> None:
        """`is_changed`: so is the receiver's."""
        self._db.execute(
            "UPDATE nodes SET changed = ?, size = ?, read_at = ?, facts = ?, atime = ?, digest = ? WHERE id = ?",
            (node.changed, node.size, node.read_at, node.facts, node.atime, node.digest, node.id),
        )
        if is_changed and not node.is_fresh:
            self._db.execute("UPDATE entries SET checked = 0 WHERE node = ?", (node.id,))

    # The bytes of large files: the digests of their blocks, a stretch of them together

    def stretch(self, node: int, number: int) -> bytes:
        row = self._db.execute("SELECT digests FROM blocks WHERE node = ? AND stretch = ?", (node, number)).fetchone()
        return bytes(row[0]) if row else b""

    def save_stretch(self, node: int, number: int, digests: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", (node, number, digests))

    def forget_stretches(self, node: int, first: int) -> None:
        self._db.execute("DELETE FROM blocks WHERE node = ? AND stretch >= ?", (node, first))

    # Directories

    def wait(self, node: int, path: bytes) -> None:
        self._db.execute("INSERT INTO waiting VALUES (NULL, ?, ?)", (node, path))

    def next_waiting(self) -> tuple[int, bytes] | None:
        row = self._db.execute("SELECT id, node, path FROM waiting ORDER BY id DESC LIMIT 1").fetchone()
        if row is None:
            return None
        self._db.execute("DELETE FROM waiting WHERE id = ?", (row[0],))
        return row[1], row[2]

    def node(self, node: int) -> Node | None:
        return self._node("WHERE n.id = ?", (node,))

    def walked(self, node: int, number: int) -> None:
        self._db.execute("UPDATE nodes SET walked = ? WHERE id = ?", (number, node))

    def spoil(self, directory: int) -> None:
        """Something was done in it, so its attributes are to be given to it once more."""
        if directory == self._spoilt_last:
            return
        self._spoilt_last = directory
        self._db.execute("UPDATE nodes SET unfit = 1 WHERE id = ? AND NOT unfit", (directory,))
        self._db.execute("UPDATE entries SET checked = 0 WHERE node = ?", (directory,))

    def spoilt(self) -> Iterator[Node]:
        """All of them, each once; they are fit when this has ended."""
        last = 0
        while rows := self._db.execute(
            f"SELECT {_COLUMNS} FROM nodes n WHERE n.unfit AND n.id > ? ORDER BY n.id LIMIT ?",  # noqa: S608
            (last, _TOGETHER),
        ).fetchall():
            yield from (Node(*row) for row in rows)
            last = rows[-1][0]
        self._db.execute("UPDATE nodes SET unfit = 0 WHERE unfit")
        self._spoilt_last = 0

    # What a pass did not see

    def gone(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Entries of directories that this pass went through, which it did not see."""
        self._db.execute("DELETE FROM gone")
        self._db.execute(
            "INSERT INTO gone SELECT NULL, e.parent, e.name FROM entries e JOIN nodes p ON p.id = e.parent"
            " WHERE e.pass < ? AND p.walked = ?",
            (number, number),
        )
        last = 0
        while rows := self._db.execute(
            "SELECT id, parent, name FROM gone WHERE id > ? ORDER BY id LIMIT ?", (last, _TOGETHER)
        ).fetchall():
            yield from ((parent, name) for _, parent, name in rows)
            last = rows[-1][0]

    # What is to be read once more at the end of a pass

    def look_again(self, node: int, parent: int, name: bytes) -> None:
        self._db.execute("INSERT INTO again VALUES (NULL, ?, ?, ?)", (node, parent, name))

    def to_look_again(self) -> Iterator[tuple[int, int, bytes]]:
        """Once; what is noted meanwhile is not among them."""
        (end,) = self._db.execute("SELECT COALESCE(MAX(id), 0) FROM again").fetchone()
        last = 0
        while rows := self._db.execute(
            "SELECT id, node, parent, name FROM again WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (last, end, _TOGETHER),
        ).fetchall():
            yield from ((node, parent, name) for _, node, parent, name in rows)
            last = rows[-1][0]
        self._db.execute("DELETE FROM again")

    # Comparing

    def unchecked(self) -> Iterator[tuple[int, list[Listed]]]:
        """Entries that were not compared since they changed, by their directories."""
        query = (
            f"SELECT e.name, (SELECT COUNT(*) FROM entries o WHERE o.node = n.id), {_COLUMNS}"  # noqa: S608
            " FROM entries e JOIN nodes n ON n.id = e.node"
            " WHERE e.parent = ? AND e.name > ? AND NOT e.checked ORDER BY e.name LIMIT ?"
        )
        parent, name = 0, b""
        while True:
            rows = self._db.execute(query, (parent, name, _TOGETHER)).fetchall()
            if rows:
                yield parent, [Listed(row[0], Node(*row[2:]), row[1]) for row in rows]
                name = rows[-1][0]
                continue
            next_query = "SELECT parent FROM entries WHERE parent > ? AND NOT checked ORDER BY parent LIMIT 1"
            found = self._db.execute(next_query, (parent,)).fetchone()
            if found is None:
                return
            parent, name = found[0], b""

    def count(self, directory: int) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM entries WHERE parent = ?", (directory,)).fetchone()
        return int(count)

    def total(self) -> int:
        (total,) = self._db.execute("SELECT COUNT(*) FROM entries").fetchone()
        return int(total)

    def check(self, parent: int, name: bytes) -> None:
        self._db.execute("UPDATE entries SET checked = 1 WHERE parent = ? AND name = ?", (parent, name))

    def twin(self, node: int, there: int) -> int:
        """What the receiver calls a node with several names: `there` for the first that was asked about."""
        self._db.execute("INSERT OR IGNORE INTO twins VALUES (?, ?)", (node, there))
        (known,) = self._db.execute("SELECT there FROM twins WHERE node = ?", (node,)).fetchone()
        return int(known)
