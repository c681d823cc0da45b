"""Who uses what is mounted for a volume: right after crashes, reboots, and what others mount and unmount meanwhile."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_mount, mounted_uses
from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Conflict, HostFailure, Unavailable
from orlop.kernel import mounts
from orlop.kernel.mounts import MNT_DETACH, bind, is_mount_point, mount, mounts_at_or_below, unmount
from support.dying import dies_before

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

ONE, TWO, ID = "1" * 64, "2" * 64, "a" * 64
RAM = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(tmp_path / "volumes")
    driver.create("ram", RAM, "")
    yield driver
    driver.close()
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


@pytest.fixture
def data(driver: LocalVolumes) -> Path:
    return driver.root / "ram" / "_data"


def mounted_times(path: Path) -> int:
    return len(mounts_at_or_below(path))


def traces(driver: LocalVolumes) -> list[str]:
    return sorted(set(os.listdir(driver.root / "ram")) - {"_data", "opts.json", "orlop.json"})


def test_an_attach_cut_off_anywhere_leaves_nothing_that_lasts(driver: LocalVolumes, data: Path) -> None:
    for number in range(100):
        whole = not dies_before(number, lambda: driver.attach("ram", ONE))
        again = LocalVolumes(driver.root)
        again.attach("ram", ONE)
        again.attach("ram", TWO)
        assert mounted_times(data) == 1
        again.detach("ram", ONE)
        assert mounted_times(data) == 1
        again.detach("ram", TWO)
        assert mounted_times(data) == 0 and traces(driver) == []
        again.close()
        if whole:
            break
    assert number > 5


def test_a_detach_cut_off_anywhere_is_finished_at_the_next_start(driver: LocalVolumes, data: Path) -> None:
    for number in range(100):
        driver.attach("ram", ONE)
        whole = not dies_before(number, lambda: driver.detach("ram", ONE))
        again = LocalVolumes(driver.root)
        again.detach_others([])
        assert mounted_times(data) == 0 and traces(driver) == []
        again.close()
        if whole:
            break
    assert number > 2


def test_an_attach_that_nobody_goes_on_with_ends_at_the_next_start(driver: LocalVolumes, data: Path) -> None:
    for number in range(100):
        whole = not dies_before(number, lambda: driver.attach("ram", ONE))
        again = LocalVolumes(driver.root)
        again.detach_others([TWO])
        assert mounted_times(data) == 0 and traces(driver) == []
        again.retire("ram", ID, "")
        again.restore(ID, "ram", "")
        again.close()
        if whole:
            break
    assert number > 5


def test_uses_that_go_on_are_kept_at_the_next_start(driver: LocalVolumes, data: Path) -> None:
    for use in (ONE, TWO):
        driver.attach("ram", use)
    (data / "note").write_text("kept")
    again = LocalVolumes(driver.root)
    again.detach_others([ONE])
    assert (data / "note").read_text() == "kept"
    with pytest.raises(Conflict, match="volume has active mounts"):
        again.retire("ram", ID, "")
    again.detach("ram", ONE)
    assert mounted_times(data) == 0
    again.close()


def test_a_mount_that_somebody_took_away_is_made_again_and_its_users_keep_theirs(
    driver: LocalVolumes, data: Path
) -> None:
    driver.attach("ram", ONE)
    (data / "note").write_text("the first one's")
    theirs = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    unmount(data, MNT_DETACH)
    driver.attach("ram", TWO)
    assert mounted_times(data) == 1 and list(data.iterdir()) == []
    assert os.listdir(theirs) == ["note"]
    os.close(theirs)
    driver.detach("ram", ONE)
    assert mounted_times(data) == 1, "the second one still has it"
    driver.detach("ram", TWO)
    assert mounted_times(data) == 0 and traces(driver) == []


def test_what_somebody_else_mounted_there_is_not_given_to_a_container(
    driver: LocalVolumes, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    bind(tmp_path / "other", data)
    with pytest.raises(HostFailure, match=r"is mounted on .*_data, and not by this volume") as refused:
        driver.attach("ram", ONE)
    assert refused.value.hint == f"Unmount it first: umount {data}"
    driver.detach("ram", ONE)
    assert mounted_times(data) == 1, "nor is it ours to unmount"
    with pytest.raises(Conflict, match="volume has active mounts"):
        driver.retire("ram", ID, "")
    unmount(data)
    driver.attach("ram", ONE)
    driver.detach("ram", ONE)


def test_what_another_engine_mounted_there_for_the_volume_is_taken_over(driver: LocalVolumes, data: Path) -> None:
    mount("tmpfs", data, "tmpfs", 0, "size=1m")
    (data / "note").write_text("kept")
    assert (driver.attach("ram", ONE) / "note").read_text() == "kept"
    driver.detach("ram", ONE)
    assert mounted_times(data) == 0


def test_a_mount_over_ours_stops_newcomers_and_is_left_alone(driver: LocalVolumes, data: Path, tmp_path: Path) -> None:
    driver.attach("ram", ONE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note").write_text("precious")
    bind(tmp_path / "other", data)
    with pytest.raises(HostFailure, match="not by this volume"):
        driver.attach("ram", TWO)
    driver.detach("ram", ONE)
    assert mounted_times(data) == 2
    with pytest.raises(Conflict):
        driver.retire("ram", ID, "")
    unmount(data)
    driver.retire("ram", ID, "")
    assert mounted_times(tmp_path) == 0
    assert (tmp_path / "other" / "note").read_text() == "precious"


def test_what_is_mounted_on_a_plain_volume_by_its_owner_is_used_as_it_is(driver: LocalVolumes, tmp_path: Path) -> None:
    driver.create("plain", {}, "")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "note").write_text("theirs")
    bind(tmp_path / "disk", driver.root / "plain" / "_data")
    assert (driver.attach("plain", ONE) / "note").read_text() == "theirs"
    driver.detach("plain", ONE)
    assert is_mount_point(driver.root / "plain" / "_data")


def test_marks_from_before_a_reboot_count_for_nothing(driver: LocalVolumes, data: Path) -> None:
    driver.attach("ram", ONE)
    unmount(data)
    again = LocalVolumes(driver.root)
    again.detach_others([ONE])
    assert traces(driver) == []
    again.attach("ram", TWO)
    again.detach("ram", TWO)
    assert mounted_times(data) == 0
    again.close()


def test_a_busy_mount_goes_out_of_sight_with_its_last_user(driver: LocalVolumes, data: Path) -> None:
    driver.attach("ram", ONE)
    (data / "note").write_text("held")
    held = os.open(data / "note", os.O_RDONLY)
    driver.detach("ram", ONE)
    assert mounted_times(data) == 0
    assert os.read(held, 10) == b"held"
    os.close(held)


def test_a_mount_that_was_given_up_waiting_for_and_comes_late_is_known_as_ours(
    driver: LocalVolumes, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: object) -> None:
        raise TimeoutError(110, "no answer within 30 s")

    monkeypatch.setattr(local_mount, "is_foreign", lambda *arguments: True)
    monkeypatch.setattr(local_mount, "mount_within", late)
    with pytest.raises(Unavailable, match="no answer within 30 s"):
        driver.attach("ram", ONE)
    mount("tmpfs", data, "tmpfs", 0, "size=1m")
    driver.retire("ram", ID, "")
    assert mounted_times(driver.root) == 0


@pytest.mark.parametrize("words", ["ro", "ro,noatime", "nosuid", "exec,ro"])
def test_a_bind_keeps_the_flags_of_what_it_shows(driver: LocalVolumes, tmp_path: Path, words: str) -> None:
    source = tmp_path / "strict"
    source.mkdir()
    mount("tmpfs", source, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC | mounts.MS_NODIRATIME)
    driver.create("host", {"type": "none", "device": str(source), "o": f"bind,{words}"}, "")
    path = driver.attach("host", ONE)
    (entry,) = mounts_at_or_below(path)
    shown = set(entry.options.split(","))
    assert {"nosuid", "nodev", "nodiratime"} <= shown
    assert ("noexec" in shown) == ("exec" not in words.split(","))
    assert ("ro" in shown) == ("ro" in words.split(","))
    assert ("noatime" in shown) == ("noatime" in words)
    driver.detach("host", ONE)
    unmount(source)


@pytest.mark.parametrize("device", ["none", "", "anything"])
def test_memory_is_mounted_whatever_its_device_is_called(driver: LocalVolumes, device: str) -> None:
    driver.create("trap", {"type": "tmpfs", "device": device}, "")
    (entry,) = mounts_at_or_below(driver.attach("trap", ONE))
    assert entry.fs_type == "tmpfs"
    driver.detach("trap", ONE)


def test_a_bind_needs_no_type(driver: LocalVolumes, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "note").write_text("x")
    driver.create("host", {"type": "", "device": str(tmp_path / "srv"), "o": "bind"}, "")
    assert (driver.attach("host", ONE) / "note").read_text() == "x"
    driver.detach("host", ONE)


def test_the_mark_of_a_use_is_there_before_the_mount(driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash leaves mounted can then always be told from what somebody else mounted."""
    seen: list[list[str]] = []
    genuine = mounted_uses.mounts.mount

    def looking(*arguments: object) -> None:
        seen.append(traces(driver))
        genuine(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mounts, "mount", looking)
    driver.attach("ram", ONE)
    assert seen == [["uses"]]
    driver.detach("ram", ONE)
