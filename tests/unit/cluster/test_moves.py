"""Moves of volumes, against a store in memory whose answers can be lost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Comparison, Operation, Outcome
from orlop.cluster.etcd_link import Uncertain
from orlop.cluster.keys import Keys, parse, render
from orlop.cluster.moves import EtcdMoves
from orlop.errors import Conflict, NotFound, OrlopError, Unavailable
from orlop.model.volume import Volume
from orlop.model.volume_move import Move, MoveState
from support.fake_etcd import FakeClient, FakeEtcd

KEYS = Keys()
VOLUME = Volume("db", "d" * 64, "local", 1, "", {"tier": "gold"}, {"size": "1g"}, aliases=("data",))
WISH = Move(VOLUME, "attempt-1", "a", "b", "certificate of a", 1000)
READY = replace(WISH, state=MoveState.READY, address="10.0.0.2", port=4711, target_certificate="certificate of b")
COMMITTED = replace(READY, state=MoveState.COMMITTED)


class Side:
    """A node, and its way to the store."""

    def __init__(self, etcd: FakeEtcd, name: str, place: Path) -> None:
        self.client = FakeClient(etcd)
        self.moves = EtcdMoves(self, KEYS, Copy(KEYS, place / name), name, lambda: "127.0.0.1")

    def transact(
        self, comparisons: list[Comparison], then: list[Operation], otherwise: Sequence[Operation] | None = None
    ) -> Outcome:
        return self.client.transact(comparisons, then, otherwise or ())


@pytest.fixture
def etcd() -> FakeEtcd:
    found = FakeEtcd(lambda: 0)
    client = FakeClient(found)
    for node in "ab":
        found.entries |= {}
        client.transact([], [_put(KEYS.node(node)), _put(KEYS.alive_node(node))])
    return found


def _put(key: str) -> Operation:
    from orlop.cluster.etcd import Put

    return Put(key, b"{}")


@pytest.fixture
def a(etcd: FakeEtcd, tmp_path: Path) -> Side:
    return Side(etcd, "a", tmp_path)


@pytest.fixture
def b(etcd: FakeEtcd, tmp_path: Path) -> Side:
    return Side(etcd, "b", tmp_path)


def test_a_move_goes_through_its_states_and_both_sides_see_each(a: Side, b: Side) -> None:
    a.moves.post(WISH)
    assert b.moves.look(VOLUME.id) == WISH
    assert b.moves.advance(WISH, READY)
    assert a.moves.look(VOLUME.id) == READY
    assert a.moves.advance(READY, COMMITTED)
    arrived = replace(COMMITTED, state=MoveState.ARRIVED)
    assert b.moves.advance(COMMITTED, arrived)
    a.moves.finish(arrived)
    assert a.moves.look(VOLUME.id) is b.moves.look(VOLUME.id) is None


def test_a_volume_moves_once_at_a_time_and_the_refusal_says_where_to(a: Side) -> None:
    a.moves.post(WISH)
    with pytest.raises(Conflict, match="from node a to node b already"):
        a.moves.post(replace(WISH, attempt="attempt-2", target="a"))


def test_a_node_that_is_none_and_one_that_is_not_alive_are_told_apart(a: Side, etcd: FakeEtcd) -> None:
    with pytest.raises(NotFound, match="no node of that name"):
        a.moves.post(replace(WISH, target="c"))
    del etcd.entries[KEYS.alive_node("b")]
    with pytest.raises(Unavailable, match="not alive"):
        a.moves.post(WISH)


@pytest.mark.parametrize("seen", [WISH, READY, replace(WISH, state=MoveState.REFUSED, why="the name is taken")])
def test_what_is_not_committed_can_be_called_off_by_whoever_knows_any_state_of_it(a: Side, b: Side, seen: Move) -> None:
    a.moves.post(WISH)
    if seen != WISH:
        assert b.moves.advance(WISH, seen)
    assert a.moves.call_off(WISH)
    assert a.moves.call_off(WISH), "called off already is success"
    assert not b.moves.advance(seen, COMMITTED), "a commit that comes late does nothing"
    assert b.moves.look(VOLUME.id) is None


def test_what_is_committed_cannot_be_called_off(a: Side, b: Side) -> None:
    a.moves.post(WISH)
    b.moves.advance(WISH, READY)
    a.moves.advance(READY, COMMITTED)
    assert not b.moves.call_off(READY)
    assert b.moves.look(VOLUME.id) == COMMITTED


def test_a_later_attempt_is_no_business_of_an_earlier_one(a: Side, b: Side) -> None:
    later = replace(WISH, attempt="attempt-2")
    a.moves.post(later)
    assert b.moves.call_off(READY)
    assert not a.moves.advance(READY, COMMITTED)
    assert b.moves.look(VOLUME.id) == later


@given(fate=st.sampled_from(["lost before", "lost after"]), target_gives_up=st.booleans())
def test_whatever_is_lost_both_sides_come_to_the_same_word(
    tmp_path_factory: pytest.TempPathFactory, fate: str, target_gives_up: bool
) -> None:
    found = FakeEtcd(lambda: 0)
    FakeClient(found).transact([], [_put(KEYS.node("b")), _put(KEYS.alive_node("b"))])
    place = tmp_path_factory.mktemp("copies")
    a, b = Side(found, "a", place), Side(found, "b", place)
    a.moves.post(WISH)
    b.moves.advance(WISH, READY)
    a.client.fate = fate
    with pytest.raises(Uncertain):
        a.moves.advance(READY, COMMITTED)
    first, second = (b, a) if target_gives_up else (a, b)
    words = {first.moves.call_off(READY), second.moves.call_off(READY)}
    assert words == {fate == "lost before"}
    assert a.moves.advance(READY, COMMITTED) == (fate == "lost after"), "what is asked again changes nothing any more"


def test_while_the_store_is_away_nobody_is_told_that_a_move_ended(a: Side, b: Side) -> None:
    a.moves.post(WISH)
    b.client.fate = "cut"
    with pytest.raises(OrlopError):
        b.moves.call_off(WISH)


def test_a_move_is_read_as_it_was_written() -> None:
    assert parse(Move, "key", render(READY)) == READY
