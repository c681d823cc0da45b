"""Keeps the copy fresh: loaded at a revision, watched from there on, loaded anew where etcd has forgotten what was
since.

It also knows whether etcd is there. While it is away nobody waits for it: writes fail at once, and this thread alone
tries, twice a second at most, until it is back.

A prefix that holds another cluster than the one this node belongs to, or none any more, is not taken for an empty
catalogue: volumes that are gone are forgotten by each node, and a mistyped address must not have that effect.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable

from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Absent, Compacted, Etcd, Found, Put, Watch
from orlop.cluster.keys import Keys
from orlop.errors import Conflict, OrlopError, Unavailable

log = logging.getLogger(__name__)

_PAUSES = (0.1, 0.5, 1.0, 2.0)

Told = Callable[[Collection[str]], None]


class Follower:
    """`told` is called with names of volumes that changed; `back` each time etcd is there (again), before anybody's
    writes go through."""

    def __init__(self, etcd: Etcd, keys: Keys, copy: Copy, told: Told, back: Callable[[], None]) -> None:
        self._etcd = etcd
        self._keys = keys
        self._copy = copy
        self._told = told
        self._back = back
        self.wished: Callable[[str, str], None] = lambda volume_id, node: None  # who wants to take over what
        self.moved: Callable[[str], None] = lambda volume_id: None  # a volume whose move has changed
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._why = "it was not reached yet"  # "" while it is there
        self._since_ns = time.time_ns()
        self._watch: Watch | None = None
        self._is_loaded = False
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)

    # Whether it is there

    @property
    def is_there(self) -> bool:
        return not self._why

    @property
    def away(self) -> tuple[str, int]:
        """Why, and since when; "" while it is there."""
        return self._why, self._since_ns

    def require(self) -> None:
        """Raises Unavailable at once while it is away."""
        if why := self._why:
            raise Unavailable("cluster", f"etcd is away ({why})", "What runs goes on; try again when it is back")

    def failed(self, error: OrlopError) -> None:
        """Whoever asked etcd for something got no answer: look whether it is there."""
        self._away(error)
        if (watch := self._watch) is not None:
            watch.close()

    def _away(self, error: OrlopError) -> None:
        with self._lock:
            if not self._why:
                self._since_ns = time.time_ns()
                log.warning("cluster: %s; what is known of it is as of now", error.why)
            self._why = error.why

    def _there(self) -> None:
        with self._lock:
            was_away, self._why = self._why, ""
        if was_away:
            log.info("cluster: etcd at %s is there, revision %d", self._etcd.endpoint, self._copy.revision)

    # Its life

    def begin(self) -> None:
        """Load once. Raises Unavailable, Forbidden, Conflict."""
        self._load()
        self._there()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if (watch := self._watch) is not None:
            watch.close()
        self._etcd.close()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                if not self._is_loaded:
                    self._load()
                self._watch = self._etcd.watch(self._keys.prefix, self._copy.revision + 1)
                failures = 0
                self._back()
                self._there()
                self._follow(self._watch)
            except Compacted:
                self._is_loaded = False
            except OrlopError as error:
                if not self._closed.is_set():
                    self._away(error)
                    failures += 1
                    self._closed.wait(_PAUSES[min(failures, len(_PAUSES)) - 1])
            finally:
                self._watch = None

    def _follow(self, watch: Watch) -> None:
        for changes in watch.changes():
            names = self._copy.apply(changes)
            self._tell_wishes((change.key, change.value) for change in changes)
            if names:
                self._told(names)

    def _load(self) -> None:
        found = self._etcd.list(self._keys.prefix)
        identity = next((entry.value for entry in found.entries if entry.key == self._keys.cluster), b"")
        if identity != self._copy.identity and self._copy.identity:
            what = "another cluster" if identity else "no cluster, and this node belongs to one"
            why = f"{self._keys.prefix} at {self._etcd.endpoint} holds {what}"
            raise Conflict("cluster", why, "Check --cluster and cluster-prefix, or bring etcd back from its backup")
        if not identity:
            found = self._found()
        names = self._copy.load(found)
        self._tell_wishes((entry.key, entry.value) for entry in found.entries)
        self._is_loaded = True
        if names:
            self._told(names)

    def _tell_wishes(self, entries: Iterable[tuple[str, bytes | None]]) -> None:
        for key, value in entries:
            if key.startswith(self._keys.moves):
                self.moved(key.removeprefix(self._keys.moves))
            if key.startswith(self._keys.wanted) and value is not None:
                self.wished(key.removeprefix(self._keys.wanted), value.decode(errors="replace"))

    def _found(self) -> Found:
        """The first node makes the cluster."""
        self._etcd.transact([Absent(self._keys.cluster)], [Put(self._keys.cluster, secrets.token_hex(16).encode())])
        return self._etcd.list(self._keys.prefix)
