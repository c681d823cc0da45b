"""Volumes for other engines: mounts are counted, crashes forget none, and what is used cannot be removed."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.engine import lending
from orlop.errors import Conflict, HostFailure, Malformed, NoSuchVolume, NotFound, Unavailable
from support.daemon import wait_for
from support.lending_house import LendingHouse

LATER_NS = 2 * lending.FRESH_NS


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LendingHouse]:
    house = LendingHouse(tmp_path)
    yield house
    house.stop()


def test_a_mount_of_the_same_id_is_counted(house: LendingHouse) -> None:
    house.lending.create("data", {})
    path = house.lending.mount("data", "c1")
    assert house.lending.mount("data", "c1") == path
    house.lending.unmount("data", "c1")
    assert house.driver.users("data") == 1
    house.lending.unmount("data", "c1")
    assert house.driver.users("data") == 0
    house.lending.unmount("data", "c1")
    assert house.count("data", "c1") == 0


def test_counts_outlive_the_process_and_end_with_the_boot(house: LendingHouse) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    house.restart()
    house.lending.mount("data", "c1")
    house.lending.unmount("data", "c1")
    assert house.count("data", "c1") == 1, "the container that ran all the time"
    house.boot = "2"
    house.restart()
    assert house.uses.all() == []
    assert not list((house.root / "uses").iterdir())


def test_a_record_that_makes_no_sense_keeps_nobody_from_starting(house: LendingHouse) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    (record,) = (house.root / "uses").iterdir()
    record.write_text('{"boot": "1", "use": {"volume": 7}}')
    (house.root / "uses" / ".half").write_text("{")
    house.restart()
    assert house.uses.all() == [] and house.lending.find("data")


def test_a_mount_that_fails_is_not_counted(house: LendingHouse) -> None:
    with pytest.raises(NoSuchVolume):
        house.lending.mount("unknown", "c1")
    with pytest.raises(Malformed, match="no volume"):
        house.lending.mount("", "c1")
    with pytest.raises(Malformed, match="no id"):
        house.lending.mount("data", "")
    assert house.uses.all() == []


def test_a_mount_that_cannot_be_counted_is_let_go_of(house: LendingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.lending.create("data", {})

    def full(volume: str, use_id: str, device: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(house.uses, "add", full)
    with pytest.raises(HostFailure, match="No space left"):
        house.lending.mount("data", "c1")
    assert house.driver.users("data") == 0


def test_a_volume_with_other_options_is_not_taken_for_this_one(house: LendingHouse) -> None:
    house.lending.create("data", {"uid": "7"})
    house.lending.create("data", {"uid": "7"})
    house.lending.create("data", {})
    with pytest.raises(Conflict, match=r"exists with other options \(gid, uid\)"):
        house.lending.create("data", {"gid": "8"})
    with pytest.raises(Malformed, match="names no volume"):
        house.lending.create("", {})
    assert [volume.name for volume in house.lending.list_volumes()] == ["data"]


def test_a_removed_volume_comes_back_by_an_option(house: LendingHouse) -> None:
    house.lending.create("data", {"uid": "0"})
    Path(house.lending.mount("data", "c1"), "note").write_text("kept")
    house.lending.unmount("data", "c1")
    house.lending.remove("data")
    house.lending.remove("data")
    assert house.lending.find("data") is None
    with pytest.raises(NotFound, match="There are: data"):
        house.lending.create("other", {"restore": "unknown"})
    with pytest.raises(Malformed, match="uid cannot be given"):
        house.lending.create("again", {"restore": "data", "uid": "0"})
    house.lending.create("again", {"restore": "data"})
    house.lending.create("again", {"restore": "data"})
    assert Path(house.lending.mount("again", "c2"), "note").read_text() == "kept"
    house.lending.unmount("again", "c2")


def test_what_was_mounted_a_moment_ago_is_not_removed(house: LendingHouse) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    with pytest.raises(Conflict, match="mounted a moment ago"):
        house.lending.remove("data")
    assert house.lending.find("data")


def test_what_an_engine_forgot_can_be_removed(house: LendingHouse) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    house.now += LATER_NS
    house.lending.remove("data")
    assert house.lending.find("data") is None and house.driver.users("data") == 0
    assert house.uses.all() == []


def test_slow_storage_holds_up_only_its_own_users(house: LendingHouse) -> None:
    for name in ("slow", "quick"):
        house.lending.create(name, {})
    house.driver.slow = {"slow"}
    thread = threading.Thread(target=house.lending.mount, args=("slow", "c1"))
    thread.start()
    assert house.driver.asked.acquire(timeout=10)
    house.lending.mount("quick", "c1")
    house.lending.create("third", {})
    assert len(house.lending.list_volumes()) == 3 and house.lending.find("slow")
    house.lending.unmount("quick", "c1")
    house.lending.remove("quick")
    house.driver.gate.set()
    thread.join()
    assert house.count("slow", "c1") == 1


def test_what_could_not_be_let_go_of_is_tried_again(house: LendingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    house.driver.deaf = {"data"}
    with pytest.raises(Unavailable):
        house.lending.unmount("data", "c1")
    assert house.driver.users("data") == 1
    house.driver.deaf = set()
    wait_for("the second try", lambda: house.driver.users("data") == 0)


def test_who_mounts_again_is_not_let_go_of(house: LendingHouse) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    house.driver.deaf = {"data"}
    with pytest.raises(Unavailable):
        house.lending.unmount("data", "c1")
    house.lending.mount("data", "c1")
    house.driver.deaf = set()
    wait_for("the second try to have nothing to do", lambda: house.lending.is_at_rest)
    assert house.driver.users("data") == 1 and house.count("data", "c1") == 1


def test_a_late_mount_stays_for_whoever_asks_again(house: LendingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "DOUBT_SECONDS", 0.05)
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    house.lending.mount("data", "c1")
    house.lending.unanswered("data", "c1")
    wait_for("the doubtful mount to end", lambda: house.count("data", "c1") == 1)
    assert house.driver.users("data") == 1
    house.lending.unanswered("data", "c1")
    wait_for("the last mount to end", lambda: house.driver.users("data") == 0)


def test_a_late_mount_ends_with_the_process(house: LendingHouse) -> None:
    house.lending.create("data", {})
    house.lending.mount("data", "c1")
    house.lending.unanswered("data", "c1")
    house.lending.unanswered("data", "c1")
    assert house.count("data", "c1") == 1
    house.restart()
    assert house.uses.all() == []
