"""The version of what a listing of all volumes tells: a client may be given an old listing while it stays the same."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from orlop.cluster.contract import Cluster
from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Change, Found
from orlop.cluster.keys import Keys, render
from orlop.engine.volumes import Volumes
from orlop.model.cluster import Access, GlobalVolume
from support.volume_house import VolumeHouse

KEYS = Keys("/t/")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumeHouse]:
    house = VolumeHouse(tmp_path)
    yield house
    house.stop()


def assert_each_has_a_version(volumes: Volumes, changes: Sequence[Callable[[], object]]) -> None:
    before = volumes.version, volumes.list_known({})
    for number, change in enumerate(changes):
        change()
        after = volumes.version, volumes.list_known({})
        assert after[1] != before[1], f"change {number} shows"
        assert after[0] != before[0], f"change {number} has a version of its own"
        assert (volumes.version, volumes.list_known({})) == after
        before = after


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
    assert_each_has_a_version(volumes, changes)


class Catalogue:
    """A cluster as listings see it."""

    def __init__(self, path: Path) -> None:
        self.copy, self.away = Copy(KEYS, path), ""

    @property
    def version(self) -> Hashable:
        return self.copy.version, self.away

    def volumes(self) -> Sequence[GlobalVolume]:
        return self.copy.volumes()

    def find(self, name: str) -> GlobalVolume | None:
        found = self.copy.find(name)
        return found.volume if found else None

    def warnings(self) -> Sequence[str]:
        return [self.away] if self.away else []


def test_it_changes_with_what_the_cluster_says(house: VolumeHouse, tmp_path: Path) -> None:
    volumes, catalogue = house.volumes, Catalogue(tmp_path / "copy")
    volumes.shared.cluster = cast(Cluster, catalogue)
    own = volumes.create("own", "", None, None)
    other = GlobalVolume("other", "1", "juicefs", Access.RWX, 1, "a")

    def published(wish: GlobalVolume, revision: int) -> None:
        catalogue.copy.apply([Change(KEYS.volume(wish.name), render(wish), revision)])

    changes: list[Callable[[], object]] = [
        lambda: published(other, 1),
        lambda: published(dataclasses.replace(other, labels={"a": "b"}), 2),
        lambda: published(dataclasses.replace(other, name="own", id="2"), 3),  # hidden by this host's own
        lambda: volumes.shared.remarks.update({own.id: "stays"}),
        lambda: volumes.shared.remarks.clear(),
        lambda: setattr(catalogue, "away", "etcd is away"),
        lambda: catalogue.copy.load(Found((), 4)),
    ]
    assert_each_has_a_version(volumes, changes)


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
