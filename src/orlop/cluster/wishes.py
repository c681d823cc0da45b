"""What this node is taking over from others: `wanted/<volume id>`, under the lease of the one who wishes for it.

As long as a wish is there nobody else acquires the volume: the containers that lost it start again by their restart
policy at once, and would have it back.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from orlop.cluster.etcd import Comparison, Delete, Operation, Outcome, Put, Read, Unchanged
from orlop.cluster.etcd_link import PATIENCE_SECONDS, Uncertain
from orlop.cluster.keys import Keys
from orlop.errors import OrlopError


class Transactions(Protocol):
    """What is used of cluster.etcd.Etcd."""

    def transact(
        self,
        comparisons: Sequence[Comparison],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        seconds: float = ...,
    ) -> Outcome: ...


class Wishes:
    """Thread-safe."""

    def __init__(self, store: Transactions, keys: Keys, node: str) -> None:
        self._store = store
        self._keys = keys
        self._node = node
        self._lock = threading.Lock()
        self._own: dict[str, int] = {}  # by volume's id: the lease that it was put under, 0 for not yet

    def __bool__(self) -> bool:
        """Whether a lease is needed for any."""
        with self._lock:
            return bool(self._own)

    def begin(self, volume_id: str) -> None:
        with self._lock:
            self._own.setdefault(volume_id, 0)

    def end(self, volume_id: str) -> None:
        """Never raises: what cannot be deleted now goes with its lease."""
        with self._lock:
            lease = self._own.pop(volume_id, 0)
        if lease:
            with suppress(OrlopError):
                delete_leased(self._store, self._keys.wish(volume_id), lease)

    def put(self, volume_id: str, lease: int) -> None:
        """Where it was begun. Again under a new lease: the wish went with the one before. Raises EtcdFault where the
        lease has ended, Unavailable."""
        with self._lock:
            if self._own.get(volume_id, lease) == lease:
                return
            self._own[volume_id] = lease
        try:
            self._store.transact(
                [], [Put(self._keys.wish(volume_id), self._node.encode(), lease)], (), PATIENCE_SECONDS
            )
        except Uncertain:
            raise
        except OrlopError:
            with self._lock:
                if volume_id in self._own:
                    self._own[volume_id] = 0
            raise

    def of(self, volume_id: str) -> str:
        """The node that wishes for it now, this one or another. "": none does. Raises Unavailable."""
        found = self._store.transact([], [Read(self._keys.wish(volume_id))], (), PATIENCE_SECONDS).found[0]
        return found[0].value.decode(errors="replace") if found else ""


def delete_leased(store: Transactions, key: str, lease: int) -> None:
    """If it is under that lease. By its revision: a deletion whose answer is lost, and that is done late, must not hit
    what was put there meanwhile. Raises Unavailable."""
    found = store.transact([], [Read(key)]).found[0]
    if found and found[0].lease == lease:
        store.transact([Unchanged(key, found[0].changed)], [Delete(key)])
