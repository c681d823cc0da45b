"""This node's place in the cluster: its name, and the lease that says that it is alive.

    nodes/<name>   stays until the node is taken out: who had the name last, by the id of its data root
    alive/<name>   goes when the lease is not renewed

A name is one daemon's. Another one that comes with it is refused, whether or not the first is alive: what the first one
uses is written down under that name, and must not be taken for the second one's.
"""

import logging
import secrets
import time
from collections.abc import Collection

from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Absent, Change, Comparison, Delete, Etcd, Holds, Present, Put, Read, Unchanged
from orlop.cluster.etcd_link import PATIENCE_SECONDS, Uncertain
from orlop.cluster.keys import Keys, Membership, parse, render
from orlop.errors import Conflict, NotFound
from orlop.model.volume_move import Move, MoveState

log = logging.getLogger(__name__)

TTL_SECONDS = 15
RENEW_SECONDS = 5.0


class NameTaken(Conflict):
    """Another daemon is the node of this name."""


class Places:
    """Called by one thread at a time."""

    def __init__(self, etcd: Etcd, keys: Keys, copy: Copy, name: str, daemon: str, version: str) -> None:
        self._etcd = etcd
        self._keys = keys
        self._copy = copy
        self._name = name
        self._daemon = daemon
        self._version = version
        self._lease = 0

    def join(self) -> None:
        """Be alive under this name; joined already is success. Raises NameTaken, Unavailable."""
        lease = secrets.randbits(62) | 1
        self._etcd.grant(lease, TTL_SECONDS)
        node, alive = self._keys.node(self._name), self._keys.alive_node(self._name)
        for _ in range(5):
            seen = self._etcd.transact([], [Read(node), Read(alive)])
            there = {entry.key: entry for entries in seen.found for entry in entries}
            known = parse(Membership, node, there[node].value) if node in there else None
            if known is not None and known.daemon != self._daemon:
                raise self._taken(known, alive in there)
            joined_at = known.joined_at_ns if known else time.time_ns()
            ours = render(Membership(self._name, self._daemon, self._version, joined_at))
            unchanged: list[Comparison] = [
                Unchanged(key, there[key].changed) if key in there else Absent(key) for key in (node, alive)
            ]
            mark = self._daemon.encode()
            done = self._etcd.transact(unchanged, [Put(node, ours), Put(alive, mark, lease)])
            if done.is_done:
                self._lease = lease
                changes = [Change(node, ours, done.revision), Change(alive, mark, done.revision)]
                self._copy.apply(changes, is_from_watch=False)
                log.info("cluster: this is node %s", self._name)
                return
        raise Uncertain("cluster", f"others change the node {self._name} all the time")

    def _taken(self, known: Membership, is_alive: bool) -> NameTaken:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(known.joined_at_ns / 1e9))
        why = f"another daemon is the node {self._name} of this cluster since {since} UTC"
        if is_alive:
            return NameTaken(f"--node {self._name}", f"{why}, and is alive", "Give this one another name")
        hint = f"if that host is gone for good, on another node: orlop node rm {known.name}"
        return NameTaken(f"--node {self._name}", why, f"Give this one another name; or, {hint}")

    def renew(self) -> None:
        """Every few seconds. Raises Unavailable, NameTaken where somebody took this node out meanwhile and another one
        has its name."""
        if not self._lease or not self._etcd.renew(self._lease, PATIENCE_SECONDS):
            self.join()

    def leave(self) -> None:
        """Not alive any more; still a node."""
        if self._lease:
            self._etcd.revoke(self._lease, 1.0)
            self._lease = 0

    def remove(self, name: str) -> None:
        """Take out a node that is gone for good, with what it used, announced and was moving. Raises NotFound, Conflict
        while it is alive."""
        node, alive = self._keys.node(name), self._keys.alive_node(name)
        uses = [self._keys.use(use) for use in self._copy.uses_of_node(name)]
        done = self._etcd.transact([Present(node), Absent(alive)], [Delete(node)], [Read(node)])
        if not done.is_done:
            if not done.found[0]:
                raise NotFound(f"node {name}", "there is none of that name", "List them: orlop node ls")
            why = "it is alive"
            hint = f"Stop its daemon first; it is not alive {TTL_SECONDS} seconds after it was last heard of"
            raise Conflict(f"remove node {name}", why, hint)
        self._copy.apply([Change(node, None, done.revision)], is_from_watch=False)
        for key in uses:
            gone = self._etcd.transact([], [Delete(key)])
            self._copy.apply([Change(key, None, gone.revision)], is_from_watch=False)
        for volume in self._copy.volumes():
            if volume.coming == name:  # and will not come: only its own node can bring it
                self._drop_as_seen(self._keys.volume(volume.name), render(volume))
        members = {each.name for each in self._copy.nodes(self._name)}
        for move in self._copy.moves():
            if name in (move.source, move.target) and is_over_without(move, name, members):
                log.warning("volume %s: its move from node %s to %s ends", move.volume.name, move.source, move.target)
                self._drop_as_seen(self._keys.move(move.volume.id), render(move))

    def _drop_as_seen(self, key: str, value: bytes) -> None:
        """Unless somebody has changed it meanwhile, who goes on with it then."""
        gone = self._etcd.transact([Holds(key, value)], [Delete(key)])
        if gone.is_done:
            self._copy.apply([Change(key, None, gone.revision)], is_from_watch=False)


def is_over_without(move: Move, gone: str, members: Collection[str]) -> bool:
    """Whether the other side has nothing to wait for, once that node is gone for good. Committed, it is the target's,
    which goes on without the source. Without the target the source still has all of it, and keeps it."""
    if move.target == gone:
        return move.state is not MoveState.ARRIVED or move.source not in members
    return move.state is not MoveState.COMMITTED or move.target not in members
