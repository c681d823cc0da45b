"""Moves of volumes from node to node, as they stand in etcd: see model/volume_move.py for what their states mean.

A move is replaced or dropped only as it was seen, by its whole value: each attempt has a number of its own and no state
comes again, so a transaction whose answer was lost, and that is done late, finds another value and does nothing.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Absent, Change, Comparison, Delete, Holds, Operation, Outcome, Present, Put, Read
from orlop.cluster.keys import Keys, parse, render
from orlop.cluster.move_line import Door, Identity, Line, dial, make_identity
from orlop.errors import Conflict, NotFound, Unavailable
from orlop.model.volume_move import Move, MoveState


class Store(Protocol):
    """`Catalogue.transact`: it insists on the cluster being the one that this node joined."""

    def transact(
        self, comparisons: list[Comparison], then: list[Operation], otherwise: list[Operation] | None = None
    ) -> Outcome: ...


class EtcdMoves:
    """Thread-safe; the contract is `cluster.contract.Moves`."""

    def __init__(self, store: Store, keys: Keys, copy: Copy, node: str, address: Callable[[], str]) -> None:
        self._store = store
        self._keys = keys
        self._copy = copy
        self._node = node
        self._address = address

    def known(self) -> Sequence[Move]:
        return self._copy.moves()

    def look(self, volume_id: str) -> Move | None:
        key = self._keys.move(volume_id)
        found = self._store.transact([], [Read(key)]).found[0]
        return parse(Move, key, found[0].value) if found else None

    def post(self, move: Move) -> None:
        key, value = self._keys.move(move.volume.id), render(move)
        node, alive = self._keys.node(move.target), self._keys.alive_node(move.target)
        done = self._store.transact(
            [Absent(key), Present(node), Present(alive)], [Put(key, value)], [Read(key), Read(node), Read(alive)]
        )
        if done.is_done:
            self._note(key, value, done)
            return
        here, nodes, living = done.found
        subject = f"move volume {move.volume.name} to node {move.target}"
        if not nodes:
            raise NotFound(subject, "there is no node of that name", "List them: orlop node ls")
        if not living:
            raise Unavailable(subject, "that node is not alive", "Start its daemon. Look at: orlop node ls")
        if here:
            found = parse(Move, key, here[0].value)
            why = f"it is on its way from node {found.source} to node {found.target} already ({found.state})"
            raise Conflict(subject, why, "Wait for its end")
        raise Unavailable(subject, "the node came and went", "Try again")

    def advance(self, old: Move, new: Move) -> bool:
        key, value = self._keys.move(old.volume.id), render(new)
        done = self._store.transact([Holds(key, render(old))], [Put(key, value)], [Read(key)])
        if done.is_done:
            self._note(key, value, done)
        return done.is_done or bool(done.found[0] and done.found[0][0].value == value)

    def call_off(self, move: Move) -> bool:
        while (now := self.look(move.volume.id)) is not None and now.attempt == move.attempt:
            if now.state in (MoveState.COMMITTED, MoveState.ARRIVED):
                return False
            if self._drop(now):
                return True
        return True

    def finish(self, move: Move) -> None:
        if (now := self.look(move.volume.id)) is not None and now.attempt == move.attempt:
            self._drop(now)

    def _drop(self, move: Move) -> bool:
        """False where somebody was faster to change it."""
        key = self._keys.move(move.volume.id)
        done = self._store.transact([Holds(key, render(move))], [Delete(key)])
        if done.is_done:
            self._note(key, None, done)
        return done.is_done

    def _note(self, key: str, value: bytes | None, done: Outcome) -> None:
        self._copy.apply([Change(key, value, done.revision)], is_from_watch=False)

    def make_end(self, name: str) -> "End":
        return End(make_identity(name), self._address)


class End:
    """One side of one move."""

    def __init__(self, identity: Identity, address: Callable[[], str]) -> None:
        self._identity = identity
        self._address = address

    @property
    def certificate(self) -> str:
        return self._identity.certificate

    def listen(self, peer_certificate: str) -> Door:
        return Door(self._address(), self._identity, peer_certificate)

    def dial(self, move: Move) -> Line:
        return dial(move.address, move.port, self._identity, move.target_certificate)
