"""The version of what a listing of all volumes tells: a client may be given an old listing while it stays the same."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.volume_house import VolumeHouse


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumeHouse]:
    house = VolumeHouse(tmp_path)
    yield house
    house.stop()


def test_it_changes_whenever_the_listing_does_and_looking_changes_nothing(house: VolumeHouse) -> None:
    volumes = house.volumes

    def break_it() -> None:
        house.data("other").rmdir()
        volumes.look_at("other")

    def mend_it() -> None:
        house.data("other").mkdir()
        volumes.look_at("other")

    changes: list[Callable[[], object]] = [
        lambda: volumes.create("data", "", None, {"a": "1"}),
        lambda: volumes.create("other", "", None, None),
        lambda: volumes.update("data", {"a": "2"}, None),
        lambda: volumes.rename("data", "renamed"),
        break_it,
        mend_it,
        lambda: volumes.remove("renamed"),
        lambda: volumes.restore("renamed"),
        lambda: volumes.prune({}, include_named=True),
    ]
    before = volumes.version, volumes.list_known({})
    for number, change in enumerate(changes):
        change()
        after = volumes.version, volumes.list_known({})
        assert after[1] != before[1], f"change {number} shows"
        assert after[0] != before[0], f"change {number} has a version of its own"
        assert (volumes.version, volumes.list_known({})) == after
        before = after


def test_it_is_unknown_while_others_have_a_word_in_the_listing(house: VolumeHouse) -> None:
    assert house.volumes.version is not None
    house.volumes.others._asking.add("plugin")
    assert house.volumes.version is None


@pytest.mark.parametrize("change", ["remember", "rename", "mark", "place", "forget"])
def test_every_change_in_memory_is_another_version(house: VolumeHouse, change: str) -> None:
    made = house.volumes.create("data", "", None, None)
    records = house.volumes._records
    before = records.version
    acts: dict[str, Callable[[], None]] = {
        "remember": lambda: records.remember(dataclasses.replace(made, labels={"a": "b"})),
        "rename": lambda: records.rename("data", dataclasses.replace(made, name="else")),
        "mark": lambda: records.mark("data", "broken"),
        "place": lambda: records.place("data", "/elsewhere", 1),
        "forget": lambda: records.forget("data"),
    }
    acts[change]()
    assert records.version != before
