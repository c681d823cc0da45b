"""What moves of volumes keep others from doing."""

import pytest

from orlop.engine.volume_gates import VolumeGates
from orlop.errors import Conflict, Unavailable
from orlop.model.volume import Volume
from orlop.model.volume_move import Departure

DB = Volume("db", "1" * 64, "local", 1, "", aliases=("data",))
LEFT = Departure(DB, "attempt", "ship-2", left_at_ns=1, copy_id="2" * 64, containers=("app",))


def test_what_is_shut_is_nobodys_to_begin_with_until_it_is_open() -> None:
    gates = VolumeGates()
    gates.shut(DB.id, "it is about to be moved")
    with pytest.raises(Unavailable, match="about to be moved"):
        gates.check("attach db", DB)
    gates.open(DB.id)
    gates.open(DB.id)
    gates.check("attach db", DB)


def test_a_promised_name_is_taken_until_it_is_free() -> None:
    gates = VolumeGates()
    gates.reserve(["db"], "it is on its way here")
    assert gates.why_reserved("db") == "it is on its way here"
    assert not gates.why_reserved("other")
    gates.free(["db", "other"])
    assert not gates.why_reserved("db")


@pytest.mark.parametrize("name", ["db", "data"])
def test_a_container_that_was_left_gets_its_own_volume_back_or_the_copy_of_it_and_no_other(name: str) -> None:
    gates = VolumeGates()
    gates.leave(LEFT)
    another = Volume("db", "3" * 64, "local", 1, "")
    for volume in (None, another):
        with pytest.raises(Conflict, match="moved to node ship-2"):
            gates.check_container(name, volume, "app")
        gates.check_container(name, volume, "somebody else")
    gates.check_container(name, DB, "app")
    gates.check_container(name, Volume("db", LEFT.copy_id, "local", 1, ""), "app")


def test_an_empty_one_is_not_made_by_the_way_until_somebody_says_so() -> None:
    gates = VolumeGates()
    gates.leave(LEFT)
    gates.check_made_by_the_way("other")
    with pytest.raises(Conflict, match="docker volume create db"):
        gates.check_made_by_the_way("db")
    (replaced,) = gates.replace("db")
    assert replaced.is_replaced
    assert not gates.replace("db"), "it is in the journal already"
    gates.check_made_by_the_way("db")
    with pytest.raises(Conflict):
        gates.check_container("db", None, "app")
