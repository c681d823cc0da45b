"""The record beside a removed volume's data is written after the removal was answered: it comes in any case, and never
to what has been taken back."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_retirement
from orlop.engine import settling
from orlop.engine.executor import Intent
from orlop.model.volume import RetiredVolume
from orlop.planning.volumes import REMOVE
from support.volume_house import VolumeHouse


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VolumeHouse]:
    monkeypatch.setattr(settling, "GATHER_SECONDS", 1000.0)  # nothing settles but when it is told to
    monkeypatch.setattr(local_retirement, "AT_ONCE", 0)
    house = VolumeHouse(tmp_path / "house")
    yield house
    house.stop()


def removed(house: VolumeHouse, name: str) -> RetiredVolume:
    house.volumes.create(name, "", None, {"of": name})
    (house.data(name) / "note").write_text(name)
    house.volumes.remove(name)
    return next(found for found in house.volumes.list_retired() if found.volume.name == name)


def record_of(house: VolumeHouse, found: RetiredVolume) -> Path:
    return house.root / "volumes" / ".retired" / found.id / "retired.json"


def test_of_a_few_it_is_there_before_they_are_out_of_sight(house: VolumeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_retirement, "AT_ONCE", 2)
    first, second, third = (removed(house, name) for name in ("first", "second", "third"))
    assert record_of(house, first).exists() and record_of(house, second).exists()
    assert not record_of(house, third).exists()
    house.driver.settle()
    assert record_of(house, third).exists()
    assert record_of(house, removed(house, "fourth")).exists()


def test_it_is_there_once_all_is_settled_and_known_before(house: VolumeHouse) -> None:
    found = removed(house, "data")
    assert not record_of(house, found).exists()
    assert json.loads(house.driver.retired_metadata(found.id))["reason"] == "volume rm"
    house.driver.settle()
    assert json.loads(record_of(house, found).read_text())["volume"]["labels"] == {"of": "data"}


def test_a_daemon_that_was_killed_before_writes_it_at_its_next_start(tmp_path: Path) -> None:
    root = tmp_path / "killed"
    if (pid := os.fork()) == 0:
        settling.GATHER_SECONDS = 1000.0
        local_retirement.AT_ONCE = 0
        house = VolumeHouse(root)
        removed(house, "data")
        house.volumes.create("data", "", None, {"of": "the next"})
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    house = VolumeHouse(root)
    try:
        (found,) = house.volumes.list_retired()
        record = json.loads(record_of(house, found).read_text())
        assert (record["id"], record["reason"]) == (found.id, "volume rm")
        assert (house.root / "volumes" / ".retired" / found.id / "_data" / "note").read_text() == "data"
        assert house.names() == ["data"], "the volume of the same name that came after it is where it was"
        assert house.volumes.get("data").labels == {"of": "the next"}
    finally:
        house.stop()


def test_a_removal_that_the_journal_never_heard_of_gets_one_at_the_next_start(house: VolumeHouse) -> None:
    volume = house.volumes.create("data", "", None, {"of": "data"})
    house.driver.retire("data", volume.id, "{}")
    house.driver.close()  # as a kill does it: nothing was settled
    house.journal.close()
    house.start()
    (found,) = house.volumes.list_retired()
    record = json.loads(record_of(house, found).read_text())
    assert record["id"] == volume.id
    assert record["purge_at_ns"] == found.purge_at_ns > house.now
    assert record["volume"]["labels"] == {"of": "data"}


def test_what_was_taken_back_gets_none(house: VolumeHouse) -> None:
    found = removed(house, "data")
    house.volumes.restore(found.id)
    house.driver.settle()
    assert not (house.root / "volumes" / "data" / "retired.json").exists()
    assert (house.data("data") / "note").read_text() == "data"


def test_the_one_of_a_removal_that_was_undone_is_never_taken_for_the_next(house: VolumeHouse) -> None:
    house.volumes.create("data", "", None, None)
    (house.root / "volumes" / "data" / "retired.json").write_text("of a restore that a crash cut off")
    house.volumes.remove("data")
    (found,) = house.volumes.list_retired()
    assert not record_of(house, found).exists()
    house.driver.settle()
    assert json.loads(record_of(house, found).read_text())["id"] == found.id


def test_what_was_purged_meanwhile_is_no_trouble(house: VolumeHouse) -> None:
    gone, kept = removed(house, "gone"), removed(house, "kept")
    house.volumes.purge(gone.id)
    house.driver.settle()
    assert record_of(house, kept).exists()


def test_what_is_pruned_stands_in_the_journal_once(house: VolumeHouse) -> None:
    for _ in range(30):
        house.volumes.create("", "", None, {"some": "label " * 50})
    assert len(house.volumes.prune({}, include_named=False).removed) == 30
    marks = [intent.plan for intent in house.journal.load("operations", Intent).values()]
    (mark,) = [plan for plan in marks if plan.operation == REMOVE]
    assert len(mark.steps) == 30
    assert "label" not in str(mark), "the mark says who, and not everything of each"
    house.restart()
    retired = house.volumes.list_retired()
    assert len(retired) == 30
    assert all(record_of(house, found).exists() for found in retired)
