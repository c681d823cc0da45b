"""What becomes of a volume of another engine, as a table."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.drivers.volumes.volume_name import check_name
from orlop.engine.adoption_rules import Action, AdoptionWish, Decision, Facts, decide_all
from orlop.errors import Malformed
from orlop.foreign.volume import ForeignVolume

DATA = ForeignVolume("data", Path("/there"), labels={"a": "1"}, created_at_ns=5)
MOVE, COPY = AdoptionWish(), AdoptionWish(copy=True)


def check(name: str, options: Mapping[str, str]) -> None:
    check_name(name)
    if "size" in options:
        raise Malformed("", "no limits here")
    if "odd" in options:
        raise Malformed("", "odd is no option")


FACTS = Facts(lambda name: name == "taken", check, {})


def decide(volume: ForeignVolume, wish: AdoptionWish = MOVE, facts: Facts = FACTS) -> Decision:
    return decide_all([volume], wish, facts)[0]


def test_what_nothing_stands_against_is_moved_or_copied() -> None:
    assert decide(DATA) == Decision(DATA, "data", Action.MOVE)
    assert decide(DATA, COPY) == Decision(DATA, "data", Action.COPY)


@pytest.mark.parametrize(
    ("changes", "wish", "facts", "why"),
    [
        ({"obstacle": "odd driver"}, MOVE, {}, "odd driver"),
        ({"obstacle": "odd driver"}, replace(COPY, force=True), {}, "odd driver"),
        ({"name": "taken"}, MOVE, {}, "a volume taken is here already"),
        ({"name": "x"}, MOVE, {}, "too short"),
        ({"options": {"odd": "1"}}, MOVE, {}, "its options cannot be had here: odd is no option"),
        ({"containers": ("web", "db")}, MOVE, {}, "containers there refer to it: web, db"),
        ({}, MOVE, {"uses": {"data": ["mounted"]}}, "it is in use: mounted"),
        ({}, replace(MOVE, force=True), {"uses": {"data": ["mounted"]}}, "it is in use: mounted"),
        ({}, COPY, {"uses": {"data": ["mounted"]}}, "it is in use: mounted"),
        ({}, MOVE, {"not_movable": "another disk"}, "another disk"),
    ],
)
def test_what_stands_against_it_is_said(
    changes: dict[str, object], wish: AdoptionWish, facts: dict[str, object], why: str
) -> None:
    found = decide(replace(DATA, **changes), wish, replace(FACTS, **facts))  # type: ignore[arg-type]
    assert found.action is Action.REFUSE and why in found.why


def test_force_takes_what_containers_lose() -> None:
    found = decide(replace(DATA, containers=("web",)), AdoptionWish(force=True))
    assert (found.action, found.notes) == (Action.MOVE, ("containers there lose it: web",))


def test_a_forced_copy_of_what_is_in_use_says_so() -> None:
    found = decide(DATA, AdoptionWish(copy=True, force=True), replace(FACTS, uses={"data": ["process 1"]}))
    assert (found.action, found.notes) == (Action.COPY, ("copied while process 1",))


@pytest.mark.parametrize(
    ("given", "kept", "lost"),
    [
        ({"size": "10g"}, None, "size=10g"),
        ({"o": "size=10g,uid=5"}, {"o": "uid=5"}, "size=10g"),
        ({"o": "inodes=7"}, None, "inodes=7"),
        (
            {"type": "tmpfs", "device": "tmpfs", "o": "size=10m"},
            {"type": "tmpfs", "device": "tmpfs", "o": "size=10m"},
            "",
        ),
    ],
)
def test_a_limit_does_not_come_along_with_a_move(given: dict[str, str], kept: dict[str, str] | None, lost: str) -> None:
    found = decide(replace(DATA, options=given))
    assert found.options == kept and [lost in note for note in found.notes] == [True] * bool(lost)


@pytest.mark.parametrize("wish", [MOVE, COPY])
def test_a_limit_comes_along_where_limits_can_be_had(wish: AdoptionWish) -> None:
    facts = replace(FACTS, check=lambda name, options: None, limits_move=True)
    found = decide(replace(DATA, options={"size": "10g"}), wish, facts)
    assert (found.options, found.notes) == ({"size": "10g"}, ())


@pytest.mark.parametrize("wish", [MOVE, COPY])
def test_a_limit_that_cannot_be_had_is_left_out_and_said(wish: AdoptionWish) -> None:
    found = decide(replace(DATA, options={"size": "10g", "o": "uid=5"}), wish)
    assert found.options == {"o": "uid=5"} and "its limit size=10g does not come along" in found.notes[0]


def test_two_cannot_get_one_name() -> None:
    other = replace(DATA, name="other")
    first, second = decide_all([DATA, other], AdoptionWish(new_names={"other": "data"}), FACTS)
    assert first.action is Action.MOVE and second.why == "a volume data is here already"
    assert "--as other=NEW" in second.hint


def test_what_is_gone_is_passed_over_unless_asked_for() -> None:
    gone = replace(DATA, is_gone=True, obstacle="it is not there")
    assert decide(gone).action is Action.LEAVE
    assert decide(gone, AdoptionWish(names=["data"])).why == "no such volume there"
    named = decide_all([DATA], AdoptionWish(names=["data", "taken", "data"]), FACTS)
    assert [(it.volume.name, it.action) for it in named] == [("data", Action.MOVE), ("taken", Action.REFUSE)]
    assert "taken over before" in named[1].hint
