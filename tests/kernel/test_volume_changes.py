"""Other options and another name for a local volume: whole or not at all, whenever the process ends."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Conflict, HostFailure, Malformed
from orlop.kernel.mounts import MNT_DETACH, bind, is_mount_point, mounts_at_or_below, unmount
from support.dying import dies_before

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

ID, OTHER = "a" * 64, "b" * 64
RAM = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
OLD, NEW = '{"id": "old"}', '{"id": "new"}'


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(tmp_path / "volumes")
    yield driver
    driver.close()
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def reopened(driver: LocalVolumes) -> LocalVolumes:
    again = LocalVolumes(driver.root)
    again.list_volumes()
    return again


def options_on_disk(driver: LocalVolumes) -> str:
    path = driver.root / "data" / "opts.json"
    return json.loads(path.read_text())["MountOpts"] if path.exists() else ""


def test_a_change_of_options_cut_off_anywhere_is_whole_or_not_at_all(driver: LocalVolumes) -> None:
    seen = set()
    for number in range(100):
        driver.create("data", RAM, OLD)
        if not dies_before(number, lambda: driver.change("data", {**RAM, "o": "size=2m"}, NEW)):
            break
        again = reopened(driver)
        assert sorted(os.listdir(driver.root / "data")) == ["_data", "opts.json", "orlop.json"]
        state = (options_on_disk(again), again.metadata("data"))
        assert state in (("size=1m", OLD), ("size=2m", NEW))
        seen.add(state)
        again.change("data", {**RAM, "o": "size=2m"}, NEW)
        assert (options_on_disk(again), again.metadata("data")) == ("size=2m", NEW)
        assert sorted(os.listdir(driver.root / "data")) == ["_data", "opts.json", "orlop.json"]
        again.discard("data")
        again.close()
    assert number > 5 and len(seen) == 2


def test_a_half_written_change_is_what_readers_see(driver: LocalVolumes) -> None:
    driver.create("data", {}, OLD)
    change = {"options": {"MountType": "tmpfs", "MountDevice": "tmpfs", "MountOpts": "size=2m"}, "metadata": NEW}
    (driver.root / "data" / "change.json").write_text(json.dumps(change))
    assert driver.metadata("data") == NEW
    driver.attach("data", ID)
    (entry,) = mounts_at_or_below(driver.root / "data")
    assert "size=2048k" in entry.super_options
    driver.detach("data", ID)
    assert not (driver.root / "data" / "change.json").exists() and options_on_disk(driver) == "size=2m"


def test_a_rename_cut_off_anywhere_goes_on_with_the_same_call(driver: LocalVolumes) -> None:
    seen = set()
    for number in range(100):
        driver.create("data", RAM, OLD)
        if not dies_before(number, lambda: driver.rename("data", "other", NEW)):
            break
        again = reopened(driver)
        found = tuple(stored.name for stored in again.list_volumes())
        assert found in (("data",), ("other",))
        seen.add(found)
        assert again.rename("data", "other", NEW).name == "other"
        assert again.metadata("other") == NEW
        again.discard("other")
        again.close()
    assert number > 3 and len(seen) == 2


def test_what_concerns_the_mount_holds_when_nobody_has_it_any_more(driver: LocalVolumes) -> None:
    driver.create("ram", RAM, OLD)
    top = driver.attach("ram", ID)
    driver.change("ram", {**RAM, "o": "size=2m"}, NEW)
    assert driver.attach("ram", OTHER) == top
    (entry,) = mounts_at_or_below(top)
    assert "size=1024k" in entry.super_options
    for use in (ID, OTHER):
        driver.detach("ram", use)
    driver.attach("ram", ID)
    (entry,) = mounts_at_or_below(top)
    assert "size=2048k" in entry.super_options
    driver.detach("ram", ID)


def test_a_mount_that_is_no_longer_wanted_goes_with_its_last_user(driver: LocalVolumes) -> None:
    driver.create("ram", RAM, OLD)
    top = driver.attach("ram", ID)
    (top / "note").write_text("in memory")
    driver.change("ram", {}, NEW)
    assert (driver.attach("ram", OTHER) / "note").read_text() == "in memory", "all users see the same"
    driver.detach("ram", ID)
    assert is_mount_point(top)
    driver.detach("ram", OTHER)
    assert not is_mount_point(top)
    assert list(driver.attach("ram", ID).iterdir()) == []
    assert not is_mount_point(top)
    driver.detach("ram", ID)


def test_data_of_its_own_is_not_hidden_under_a_mount(driver: LocalVolumes) -> None:
    driver.create("data", {}, OLD)
    (driver.root / "data" / "_data" / "note").write_text("mine")
    with pytest.raises(Conflict, match="holds data of its own"):
        driver.change("data", RAM, NEW)
    assert driver.metadata("data") == OLD
    assert (driver.attach("data", ID) / "note").read_text() == "mine"


def test_another_owner_holds_at_once_and_the_same_one_again_changes_nothing(driver: LocalVolumes) -> None:
    driver.create("data", {"uid": "5"}, OLD)
    top = driver.root / "data" / "_data"
    driver.change("data", {"uid": "6", "mode": "0700"}, NEW)
    assert (top.stat().st_uid, stat.S_IMODE(top.stat().st_mode)) == (6, 0o700)
    os.chown(top, 70, 70)
    driver.change("data", {"uid": "6", "mode": "0700"}, NEW)
    driver.attach("data", ID)
    assert top.stat().st_uid == 70


def test_other_options_mend_a_volume_whose_options_are_unreadable(driver: LocalVolumes) -> None:
    driver.create("data", RAM, OLD)
    (driver.root / "data" / "opts.json").write_text("{")
    with pytest.raises(HostFailure, match=r"opts\.json is unreadable"):
        driver.attach("data", ID)
    driver.change("data", RAM, NEW)
    driver.attach("data", ID)
    driver.detach("data", ID)


def test_a_refused_option_is_named_with_what_was_asked(driver: LocalVolumes) -> None:
    driver.create("data", {}, OLD)
    with pytest.raises(Malformed, match='update data: invalid option: "x"'):
        driver.change("data", {"x": "y"}, NEW)


def test_a_renamed_volume_is_still_kept_from_removal_by_what_is_mounted_in_it(
    driver: LocalVolumes, tmp_path: Path
) -> None:
    driver.create("data", {}, OLD)
    (driver.root / "data" / "_data" / "share").mkdir()
    (tmp_path / "precious").mkdir()
    bind(tmp_path / "precious", driver.root / "data" / "_data" / "share")
    driver.rename("data", "other", NEW)
    with pytest.raises(Conflict, match="volume has active mounts"):
        driver.retire("other", ID, "")


def test_something_else_that_has_the_new_name_stays(driver: LocalVolumes) -> None:
    driver.create("data", {}, OLD)
    (driver.root / "file").write_text("somebody's")
    (driver.root / "folder").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(Conflict, match="there already"):
            driver.rename("data", name, NEW)
    assert (driver.root / "file").read_text() == "somebody's"
    assert driver.metadata("data") == OLD
