"""This node's copy of what the cluster agreed on: in memory for reading, on disk for a start without etcd.

Changes come from the watch, in order, and from this node's own writes, which know their revision: of one key the newer
one counts, whichever comes first.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from orlop.cluster.etcd import Change, Found
from orlop.cluster.keys import Keys, Membership, parse
from orlop.errors import OrlopError
from orlop.model.cluster import GlobalUse, GlobalVolume, Node, Writer
from orlop.model.value import dataclass
from orlop.model.volume_move import Move
from orlop.store.files import write_durably

log = logging.getLogger(__name__)


class _Saved(msgspec.Struct):
    prefix: str
    revision: int
    entries: dict[str, tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A volume and the revision of its key."""

    volume: GlobalVolume
    revision: int


class Copy:
    """Thread-safe."""

    def __init__(self, keys: Keys, path: Path, unsaved: Callable[[], None] = lambda: None) -> None:
        """`unsaved` is called when it is not any more what the disk has, with its lock held."""
        self._keys = keys
        self._path = path
        self._unsaved = unsaved
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[bytes, int]] = {}
        self._gone: dict[str, int] = {}  # deleted by this node, and not yet seen in the watch
        self._revision = 0
        self._is_saved = True
        self._volumes: dict[str, Stored] = {}
        self._by_id: dict[str, str] = {}  # to names
        self._uses: dict[str, dict[str, GlobalUse]] = {}  # by volume id, then key
        self._writers: dict[str, Writer] = {}
        self._nodes: dict[str, Membership] = {}
        self._alive: dict[str, str] = {}  # to ids of daemons
        self._moves: dict[str, Move] = {}  # by volume id
        self._sorted: Sequence[GlobalVolume] | None = None
        self.version = 0  # another one after each change of what is told of volumes

    # Reading

    @property
    def revision(self) -> int:
        """Of the store, up to which all is known."""
        return self._revision

    @property
    def is_saved(self) -> bool:
        return self._is_saved

    @property
    def identity(self) -> bytes:
        """Which cluster it is of; b"" when it never was of one."""
        return self._entries.get(self._keys.cluster, (b"", 0))[0]

    def volumes(self) -> Sequence[GlobalVolume]:
        with self._lock:
            if self._sorted is None:
                self._sorted = tuple(self._volumes[name].volume for name in sorted(self._volumes))
            return self._sorted

    def find(self, name: str) -> Stored | None:
        return self._volumes.get(name)

    def find_by_id(self, volume_id: str) -> Stored | None:
        with self._lock:
            return self._volumes.get(self._by_id.get(volume_id, ""))

    def uses(self, volume_id: str) -> Sequence[GlobalUse]:
        with self._lock:
            return tuple(self._uses.get(volume_id, {}).values())

    def uses_of_node(self, node: str) -> Sequence[GlobalUse]:
        with self._lock:
            return [use for uses in self._uses.values() for use in uses.values() if use.node == node]

    def writer(self, volume_id: str) -> Writer | None:
        return self._writers.get(volume_id)

    def moves(self) -> Sequence[Move]:
        with self._lock:
            return tuple(self._moves.values())

    def nodes(self, own: str) -> Sequence[Node]:
        with self._lock:
            return [
                Node(name, node.version, node.joined_at_ns, name in self._alive, name == own)
                for name, node in sorted(self._nodes.items())
            ]

    # Changing

    def apply(self, changes: Iterable[Change], is_from_watch: bool = True) -> Collection[str]:
        """Names of the volumes that changed."""
        names: dict[str, None] = {}
        with self._lock:
            for change in changes:
                if self._apply(change, is_from_watch):
                    names.update(dict.fromkeys(self._volume_of(change.key)))
        return names

    def load(self, found: Found) -> Collection[str]:
        """All of it anew. Names of the volumes that are otherwise than before."""
        before = {name: stored.revision for name, stored in self._volumes.items()}
        with self._lock:
            newer = {
                key: (value, revision) for key, (value, revision) in self._entries.items() if revision > found.revision
            }
            entries = {entry.key: (entry.value, entry.changed) for entry in found.entries}
            gone = {key: revision for key, revision in self._gone.items() if revision > found.revision}
            self._reset({key: entry for key, entry in (entries | newer).items() if key not in gone})
            self._gone = gone
            self._revision = found.revision
        now = {name: stored.revision for name, stored in self._volumes.items()}
        return {name for name, _ in before.items() ^ now.items()}

    def _apply(self, change: Change, is_from_watch: bool) -> bool:
        known = max(self._entries.get(change.key, (b"", 0))[1], self._gone.get(change.key, 0))
        if is_from_watch:
            self._revision = max(self._revision, change.revision)
            if self._gone.get(change.key, change.revision + 1) <= change.revision:
                del self._gone[change.key]
        elif change.value is None:
            self._gone[change.key] = max(known, change.revision)
        if change.revision <= known:
            return False
        self._differ()
        if change.value is None:
            self._entries.pop(change.key, None)
            self._drop(change.key)
        else:
            self._entries[change.key] = (change.value, change.revision)
            self._put(change.key, change.value, change.revision)
        return True

    def _differ(self) -> None:
        if self._is_saved:
            self._is_saved = False
            self._unsaved()

    def _volume_of(self, key: str) -> Sequence[str]:
        prefix = self._keys.volumes
        return [key.removeprefix(prefix)] if key.startswith(prefix) else []

    def _reset(self, entries: dict[str, tuple[bytes, int]]) -> None:
        self._volumes, self._by_id, self._uses = {}, {}, {}
        self._writers, self._nodes, self._alive, self._moves = {}, {}, {}, {}
        self._entries = entries
        self._differ()
        for key, (value, revision) in entries.items():
            self._put(key, value, revision)
        self._volumes_changed()

    def _put(self, key: str, value: bytes, revision: int) -> None:
        keys = self._keys
        try:
            if key.startswith(keys.volumes):
                self._put_volume(key, Stored(parse(GlobalVolume, key, value), revision))
            elif key.startswith(keys.uses):
                use = parse(GlobalUse, key, value)
                self._uses.setdefault(use.volume_id, {})[key] = use
            elif key.startswith(keys.writers):
                self._writers[key.removeprefix(keys.writers)] = parse(Writer, key, value)
            elif key.startswith(keys.nodes):
                self._nodes[key.removeprefix(keys.nodes)] = parse(Membership, key, value)
            elif key.startswith(keys.alive):
                self._alive[key.removeprefix(keys.alive)] = value.decode(errors="replace")
            elif key.startswith(keys.moves):
                self._moves[key.removeprefix(keys.moves)] = parse(Move, key, value)
        except OrlopError as error:
            log.warning("%s", error)

    def _put_volume(self, key: str, stored: Stored) -> None:
        self._drop(key)
        self._volumes[stored.volume.name] = stored
        self._by_id[stored.volume.id] = stored.volume.name
        self._volumes_changed()

    def _volumes_changed(self) -> None:
        """After the change, for `find` waits for nobody: whoever saw it half done read the version of before."""
        self._sorted = None
        self.version += 1

    def _drop(self, key: str) -> None:
        keys = self._keys
        if key.startswith(keys.volumes):
            stored = self._volumes.pop(key.removeprefix(keys.volumes), None)
            if stored is not None:
                self._by_id.pop(stored.volume.id, None)
            self._volumes_changed()
        elif key.startswith(keys.uses):
            volume_id = key.removeprefix(keys.uses).partition("/")[0]
            uses = self._uses.get(volume_id, {})
            uses.pop(key, None)
            if not uses:
                self._uses.pop(volume_id, None)
        else:
            self._writers.pop(key.removeprefix(keys.writers), None)
            self._nodes.pop(key.removeprefix(keys.nodes), None)
            self._alive.pop(key.removeprefix(keys.alive), None)
            self._moves.pop(key.removeprefix(keys.moves), None)

    # On disk

    def save(self) -> None:
        """Unless nothing changed. Raises OSError."""
        with self._lock:
            if self._is_saved:
                return
            saved = _Saved(self._keys.prefix, self._revision, dict(self._entries))
            self._is_saved = True
        write_durably(self._path, msgspec.json.encode(saved))

    def restore(self) -> None:
        """As it was saved. What is missing or makes no sense is loaded anew later."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the copy of the cluster at %s is not used: %s", self._path, error)
            return
        if saved.prefix == self._keys.prefix:
            with self._lock:
                self._reset(saved.entries)
                self._is_saved = True
