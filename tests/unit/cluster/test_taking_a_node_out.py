"""A node that is gone for good, and what it leaves in etcd."""

from dataclasses import replace
from pathlib import Path

import pytest

from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Change, Put
from orlop.cluster.keys import Keys, Membership, Record, render
from orlop.cluster.membership import Places
from orlop.model.cluster import Access, GlobalVolume
from orlop.model.volume import Volume
from orlop.model.volume_move import Move, MoveState
from support.fake_etcd import FakeClient, FakeEtcd

KEYS = Keys()
MOVE = Move(Volume("db", "d" * 64, "local", 1, ""), "attempt-1", "a", "b", "certificate of a")


class World:
    """Node c takes the node b out, or a."""

    def __init__(self, place: Path) -> None:
        self.etcd = FakeEtcd(lambda: 0)
        self.client = FakeClient(self.etcd)
        self.copy = Copy(KEYS, place / "copy")
        self.places = Places(self.client, KEYS, self.copy, "c", "daemon", "1")  # type: ignore[arg-type]
        for name in "abc":
            self.put(KEYS.node(name), Membership(name, name, "1", 1))

    def put(self, key: str, record: Record) -> None:
        done = self.client.transact([], [Put(key, render(record))])
        self.copy.apply([Change(key, render(record), done.revision)])

    def has(self, key: str) -> bool:
        return key in self.etcd.entries


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("state", "gone", "stays"),
    [
        (MoveState.WISHED, "a", False),
        (MoveState.READY, "b", False),
        (MoveState.REFUSED, "a", False),
        (MoveState.COMMITTED, "a", True),  # the target has it, and ends the move by itself
        (MoveState.COMMITTED, "b", False),  # the source has it still, and keeps it
        (MoveState.ARRIVED, "a", False),
        (MoveState.ARRIVED, "b", True),  # the source is about to put away what it had
    ],
)
def test_its_moves_end_where_the_other_has_nothing_to_wait_for(
    state: MoveState, gone: str, stays: bool, world: World
) -> None:
    world.put(KEYS.move(MOVE.volume.id), replace(MOVE, state=state))
    world.places.remove(gone)
    assert world.has(KEYS.move(MOVE.volume.id)) == stays
    assert not world.copy.moves() or stays


def test_without_both_nodes_no_move_is_left(world: World) -> None:
    for state in MoveState:
        world.put(KEYS.move(MOVE.volume.id), replace(MOVE, state=state))
        for name in "ab":
            world.put(KEYS.node(name), Membership(name, name, "1", 1))
        world.places.remove("b")
        world.places.remove("a")
        assert not world.has(KEYS.move(MOVE.volume.id))


def test_what_it_was_about_to_bring_goes_and_what_it_made_stays(world: World) -> None:
    made = GlobalVolume("made", "1" * 64, "san", Access.RWO, 1, "b")
    world.put(KEYS.volume("made"), made)
    world.put(KEYS.volume("db"), replace(made, name="db", id="2" * 64, coming="b"))
    world.put(KEYS.volume("other"), replace(made, name="other", id="3" * 64, coming="a"))
    world.places.remove("b")
    assert [volume.name for volume in world.copy.volumes()] == ["made", "other"]
    assert not world.has(KEYS.volume("db"))
