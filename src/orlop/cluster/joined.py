"""A node that joined a cluster: the contract of `cluster.contract`, on etcd.

Two threads beside those of the callers: one follows the watch (follower), one renews the membership, tells etcd what
could be told later (ends of uses, whether a container runs) and saves the copy.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path

from orlop.cluster.address import Credentials, Endpoint
from orlop.cluster.catalogue import Catalogue
from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Etcd
from orlop.cluster.etcd_link import NoAnswer
from orlop.cluster.follower import Follower
from orlop.cluster.keys import Keys
from orlop.cluster.membership import RENEW_SECONDS, NameTaken, Places
from orlop.cluster.move_line import own_address
from orlop.cluster.moves import EtcdMoves
from orlop.cluster.term import Term
from orlop.cluster.writers import Writers
from orlop.errors import NotFound, OrlopError, Unavailable
from orlop.model.cluster import GlobalUse, GlobalVolume, Node, Writer

log = logging.getLogger(__name__)

SAVE_SECONDS = 0.5  # a host that is killed may have a copy on disk that is so much older,
SAVE_SHARE = 0.005  # or older, where many volumes take long to write down: of a processor no more than that,
LONGEST_SAVE_SECONDS = 60.0  # but for this


class JoinedCluster:
    """`start` before anything else; `close` at the end."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        credentials: Credentials,
        keys: Keys,
        node: str,
        daemon: str,
        version: str,
        path: Path,
        leashes: Path,
        term: Term | None = None,
        address: str = "",
    ) -> None:
        """`path` is where the copy is kept, `leashes` a folder that goes with a reboot, `term` how long write access
        lasts without being renewed, `address` where other nodes reach this one ("": as the way to etcd says)."""
        self.etcd = Etcd(spread(endpoints, node), credentials)
        self.keys = keys
        self._wake = threading.Event()
        self.copy = Copy(keys, path, unsaved=self._wake.set)
        self._node = node
        self.follower = Follower(self.etcd, keys, self.copy, self._tell, self._is_back)
        self._catalogue = Catalogue(self.etcd, keys, self.copy, self.follower, node)
        self._places = Places(self.etcd, keys, self.copy, node, daemon, version)
        self._writers = Writers(self.etcd, keys, node, path.with_name("writing.json"), leashes, term)
        self.follower.wished = self._writers.is_wanted
        self.moves = EtcdMoves(self._catalogue, keys, self.copy, node, lambda: address or own_address(endpoints))
        self.follower.moved = self._move_changed
        self._mover: Callable[[str], None] = lambda volume_id: None
        self._joining = threading.Lock()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._later: dict[str, GlobalUse | None] = {}  # by key: what it is to be, None to end it
        self._listeners: list[Callable[[str], None]] = []
        self._is_new = False  # there again, and nobody was told yet
        self._own_uses: Callable[[], Sequence[GlobalUse]] | None = None
        self._thread = threading.Thread(target=self._run, name="cluster member", daemon=True)

    # Its life

    def start(self) -> None:
        """With the copy of the last time where etcd does not answer. Raises NameTaken, Conflict, Forbidden."""
        self.copy.restore()
        try:
            self.follower.begin()
            self._join()
        except Unavailable as error:
            log.warning("cluster: started without etcd, with what was known: %s", error)
        self.follower.start()
        self._thread.start()

    def start_writing(self) -> None:
        """Once there is somebody to tell that access is lost."""
        self._writers.start()

    def close(self) -> None:
        self._writers.close()
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)
        try:
            if self.follower.is_there:
                self._places.leave()
        except OrlopError as error:
            log.info("cluster: this node is alive until its lease ends: %s", error)
        self.follower.close()
        self._save()

    def _join(self) -> None:
        with self._joining:
            self._places.join()

    def _is_back(self) -> None:
        """Etcd is there (again). Raises what keeps this node from being a member."""
        with self._joining:
            self._places.renew()
        self._is_new = True
        self._wake.set()

    def _run(self) -> None:
        renew_at = save_at = 0.0
        while not self._closed.is_set():
            now = time.monotonic()
            if self.follower.is_there:
                self._tick(is_due=now >= renew_at)
                renew_at = now + RENEW_SECONDS if now >= renew_at else renew_at
            if now >= save_at:
                worked = time.thread_time()  # what it waits for the disk holds up nobody
                self._save()
                worked = time.thread_time() - worked
                save_at = now + max(SAVE_SECONDS, min(LONGEST_SAVE_SECONDS, worked / SAVE_SHARE))
            self._wake.wait(RENEW_SECONDS if self.copy.is_saved else min(RENEW_SECONDS, save_at - now))
            self._wake.clear()

    def _tick(self, is_due: bool) -> None:
        try:
            if is_due:
                with self._joining:
                    self._places.renew()
            if self._is_new:
                self._is_new = False
                self._tell([""])
            self._match_uses()
            self._tell_later()
        except NameTaken as error:
            log.error("%s", error)
            self.follower.failed(error)
        except Unavailable as error:
            self.follower.failed(error)
        except OrlopError as error:
            log.warning("cluster: %s", error)

    def _save(self) -> None:
        try:
            self.copy.save()
        except OSError as error:
            log.warning("the copy of the cluster is not saved: %s", error)

    # From the copy

    @property
    def node(self) -> str:
        return self._node

    @property
    def version(self) -> Hashable:
        return self.copy.version, self.follower.away

    def volumes(self) -> Sequence[GlobalVolume]:
        return self.copy.volumes()

    def find(self, name: str) -> GlobalVolume | None:
        stored = self.copy.find(name)
        return stored.volume if stored else None

    def uses(self, volume_id: str) -> Sequence[GlobalUse]:
        return self.copy.uses(volume_id)

    def writer(self, volume_id: str) -> Writer | None:
        return self.copy.writer(volume_id)

    def nodes(self) -> Sequence[Node]:
        return self.copy.nodes(self._node)

    @property
    def is_current(self) -> bool:
        return self.follower.is_there

    def warnings(self) -> Sequence[str]:
        why, since_ns = self.follower.away
        if not why:
            return ()
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since_ns / 1e9))
        return (f"cluster: etcd is away since {since} UTC ({why}); volumes of other nodes are as last known",)

    # With the store

    def publish(self, volume: GlobalVolume) -> GlobalVolume:
        return self._catalogue.publish(volume)

    def change(self, volume: GlobalVolume) -> None:
        self._catalogue.change(volume)

    def identify(self, volume: GlobalVolume, identity: str) -> str:
        return self._catalogue.identify(volume, identity)

    def unbind(self, volume: GlobalVolume) -> None:
        self._catalogue.unbind(volume)

    def reveal(self, volume: GlobalVolume) -> None:
        self._catalogue.reveal(volume)

    def withdraw(self, volume: GlobalVolume) -> None:
        self._catalogue.withdraw(volume)

    def begin_use(self, use: GlobalUse) -> None:
        self._catalogue.begin_use(use)

    def note_use(self, use: GlobalUse) -> None:
        self._add_later(self.keys.use(use), use)

    def end_use(self, volume_id: str, container_id: str) -> None:
        self._add_later(self.keys.use(GlobalUse(volume_id, self._node, container_id, "")), None)

    def remove_node(self, name: str) -> None:
        self.follower.require()
        self._places.remove(name)

    # One writer

    def acquire(self, volume: GlobalVolume, containers: Sequence[str], wait_seconds: float = 0.0) -> Writer:
        return self._ask(lambda: self._writers.acquire(volume, containers, wait_seconds), volume.id)

    def release(self, volume_id: str) -> None:
        self._writers.release(volume_id)

    def take_over(self, volume: GlobalVolume) -> Writer:
        return self._ask(lambda: self._writers.take_over(volume), volume.id)

    def _ask(self, ask: Callable[[], Writer], volume_id: str) -> Writer:
        """What this node has needs no answer. Who waits for one in vain says so to all."""
        if volume_id not in self._writers.held():
            self.follower.require()
        try:
            return ask()
        except NoAnswer as error:
            self.follower.failed(error)
            raise

    def held(self) -> Mapping[str, Writer]:
        return self._writers.held()

    def leash(self, volume_id: str) -> Path | None:
        return self._writers.leash(volume_id)

    def on_lost(self, told: Callable[[str], None]) -> None:
        self._writers.on_lost(told)

    # What can be told later

    def match_uses(self, own_uses: Callable[[], Sequence[GlobalUse]]) -> None:
        self._own_uses = own_uses
        self._wake.set()

    def _match_uses(self) -> None:
        """Once, and each time the engine says so: what this node does not use any more is let go of, what it uses is
        known. Whatever could not be told while etcd was away is told so."""
        if (own_uses := self._own_uses) is None:
            return
        held = {self.keys.use(use): use for use in own_uses()}
        known = {self.keys.use(use): use for use in self.copy.uses_of_node(self._node)}
        self._own_uses = None
        with self._lock:
            for key in known.keys() - held.keys():
                self._later[key] = None
            for key, use in held.items():
                if known.get(key) != use:
                    self._later[key] = use

    def _add_later(self, key: str, use: GlobalUse | None) -> None:
        with self._lock:
            self._later[key] = use
        self._wake.set()

    def _tell_later(self) -> None:
        while True:
            with self._lock:
                key = next(iter(self._later), None)
                if key is None:
                    return
                use = self._later[key]
            try:
                if use is None:
                    self._catalogue.end_use(key)
                else:
                    self._catalogue.begin_use(use)
            except NotFound:
                pass  # the volume is gone, and with it who used it
            with self._lock:
                if self._later.get(key) is use:
                    del self._later[key]

    # What the engine is told

    def on_change(self, told: Callable[[str], None]) -> None:
        self._listeners.append(told)

    def on_move(self, told: Callable[[str], None]) -> None:
        self._mover = told

    def _move_changed(self, volume_id: str) -> None:
        self._mover(volume_id)

    def _tell(self, names: Collection[str]) -> None:
        for name in names:
            for told in self._listeners:
                told(name)
        self._wake.set()


def spread(endpoints: Sequence[Endpoint], node: str) -> Sequence[Endpoint]:
    """Hosts that are all configured alike begin with different members of etcd."""
    first = zlib.crc32(node.encode()) % len(endpoints)
    return [*endpoints[first:], *endpoints[:first]]
