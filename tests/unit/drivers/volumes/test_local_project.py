"""Limits by project quota, on a kernel that is played: what counts is the directories' own numbers."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_project
from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Conflict, HostFailure
from orlop.kernel.project_quota import ProjectUsage

MIB = 1 << 20
ID = "a" * 64


class PlayedQuota:
    """Numbers of files by their inodes, limits by numbers; counts what is there with a number at that moment."""

    def __init__(self) -> None:
        self.numbers: dict[int, tuple[str, int]] = {}
        self.limits: dict[int, tuple[int, int]] = {}
        self.used_by_others: dict[int, int] = {}

    def is_enforced(self, fd: int) -> bool:
        return True

    def project(self, fd: int) -> int:
        return self.numbers.get(os.fstat(fd).st_ino, ("", 0))[1]

    def assign(self, fd: int, project: int) -> None:
        self.numbers[os.fstat(fd).st_ino] = (f"/proc/self/fd/{os.dup(fd)}", project)

    def usage(self, fd: int, project: int) -> ProjectUsage:
        here = [Path(path) for path, number in self.numbers.values() if number == project]
        there = [path for path in here if path.stat().st_nlink]
        size = sum(path.stat().st_size for path in there if not path.is_dir())
        return ProjectUsage(size, len(there) + self.used_by_others.get(project, 0), *self.limits.get(project, (0, 0)))

    def limit(self, fd: int, project: int, limit_bytes: int, limit_inodes: int) -> None:
        self.limits[project] = (limit_bytes, limit_inodes)


@pytest.fixture
def quota() -> Iterator[PlayedQuota]:
    played = PlayedQuota()
    yield played
    for path, _ in played.numbers.values():
        os.close(int(path.rpartition("/")[2]))


@pytest.fixture
def driver(tmp_path: Path, quota: PlayedQuota) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(tmp_path / "volumes", quota)
    yield driver
    driver.close()


def number_of(quota: PlayedQuota, driver: LocalVolumes, name: str) -> int:
    fd = os.open(driver.root / name / "_data", os.O_RDONLY)
    try:
        return quota.project(fd)
    finally:
        os.close(fd)


def test_a_limited_volume_has_a_number_of_its_own_with_its_limits(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("one", {"size": "10m", "inodes": "100"}, "")
    driver.create("two", {"size": "20m"}, "")
    driver.create("plain", {}, "")
    one, two = (number_of(quota, driver, name) for name in ("one", "two"))
    assert one and two and one != two and number_of(quota, driver, "plain") == 0
    assert quota.limits == {one: (10 * MIB, 101), two: (20 * MIB, 0)}, "the top directory is one of the inodes"
    assert driver.limits("one").size_bytes == 10 * MIB and driver.limits("one").mechanism == "project quota"


def test_a_volume_made_again_gets_its_own_number_and_limits_also_by_the_same_driver(
    driver: LocalVolumes, quota: PlayedQuota
) -> None:
    driver.create("data", {"size": "10m"}, "")
    driver.attach("data", ID)
    old = number_of(quota, driver, "data")
    driver.retire("data", ID, "")
    driver.create("data", {"size": "30m"}, "")
    driver.attach("data", ID)
    new = number_of(quota, driver, "data")
    assert new not in (0, old)
    assert quota.limits[new] == (30 * MIB, 0) and quota.limits[old] == (10 * MIB, 0)


def test_a_number_that_anybody_uses_is_not_taken(
    driver: LocalVolumes, quota: PlayedQuota, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota.used_by_others[(1 << 20) + 5] = 3
    drawn = iter([5, 6, 6, 7])
    monkeypatch.setattr(secrets, "randbelow", lambda below: next(drawn))
    driver.create("one", {"size": "10m"}, "")
    driver.create("two", {"size": "10m"}, "")
    assert number_of(quota, driver, "one") == (1 << 20) + 6
    assert number_of(quota, driver, "two") == (1 << 20) + 7


def test_two_that_draw_the_same_number_at_once_both_draw_again(
    driver: LocalVolumes, quota: PlayedQuota, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter([5, 8])
    monkeypatch.setattr(secrets, "randbelow", lambda below: next(drawn))
    assign = quota.assign

    def assigned_while_another_did(fd: int, project: int) -> None:
        assign(fd, project)
        if project == (1 << 20) + 5:
            quota.used_by_others[project] = 1

    monkeypatch.setattr(quota, "assign", assigned_while_another_did)
    driver.create("data", {"size": "10m"}, "")
    assert number_of(quota, driver, "data") == (1 << 20) + 8


def test_with_no_number_left_nothing_is_made(
    driver: LocalVolumes, quota: PlayedQuota, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota.used_by_others[1 << 20] = 1
    monkeypatch.setattr(secrets, "randbelow", lambda below: 0)
    with pytest.raises(HostFailure, match="no project number is free"):
        driver.create("data", {"size": "10m"}, "")
    assert driver.list_volumes() == [] and driver.list_staged() == []


def test_after_a_restart_the_number_is_the_same(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("data", {"size": "10m"}, "")
    before = number_of(quota, driver, "data")
    again = LocalVolumes(driver.root, quota)
    again.attach("data", ID)
    assert number_of(quota, again, "data") == before and list(quota.limits) == [before]
    again.close()


def test_what_was_lost_is_put_right_at_the_next_attach(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("data", {"size": "10m"}, "")
    data = driver.root / "data" / "_data"
    (data / "sub").mkdir()
    (data / "sub" / "file").write_bytes(b"x" * 100)
    (data / "link").symlink_to("/etc/passwd")
    os.mkfifo(data / "fifo")
    quota.limits.clear()
    quota.numbers.clear()
    driver.attach("data", ID)
    number = number_of(quota, driver, "data")
    assert quota.limits == {number: (10 * MIB, 0)}
    fd = os.open(data, os.O_RDONLY)
    assert quota.usage(fd, number).used_inodes == 3, "the top, the directory and the file; not what they point at"
    os.close(fd)


def test_the_number_is_free_once_its_bytes_are_deleted(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("data", {"size": "10m"}, "")
    number = number_of(quota, driver, "data")
    driver.retire("data", ID, "")
    assert quota.limits[number] == (10 * MIB, 0)
    driver.restore(ID, "back", "")
    assert number_of(quota, driver, "back") == number
    driver.retire("back", ID, "")
    driver.purge(ID)
    assert quota.limits[number] == (10 * MIB, 0), "its bytes still take room"
    driver.cleanup()
    assert quota.limits[number] == (0, 0)
    driver.create("other", {"size": "10m"}, "")
    driver.discard("other")
    assert set(quota.limits.values()) == {(0, 0)}


def test_a_limit_below_what_is_stored_is_a_conflict(
    driver: LocalVolumes, quota: PlayedQuota, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.create("data", {"size": "10m", "inodes": "10"}, "")
    number = number_of(quota, driver, "data")
    monkeypatch.setattr(quota, "usage", lambda fd, project: ProjectUsage(5 * MIB, 6, 10 * MIB, 11))
    monkeypatch.setattr(local_project, "_PAUSE_SECONDS", 0)
    with pytest.raises(Conflict, match="holds 5 MiB, more than 4 MiB"):
        driver.change("data", {"size": "4m", "inodes": "10"}, "")
    with pytest.raises(Conflict, match="holds 5 files and directories, more than 4"):
        driver.change("data", {"size": "10m", "inodes": "4"}, "")
    assert quota.limits[number] == (10 * MIB, 11) and driver.options("data") == {"size": "10485760", "inodes": "10"}
    driver.change("data", {"size": "5m", "inodes": "5"}, "")
    assert quota.limits[number] == (5 * MIB, 6)


def test_a_plain_volume_gets_a_limit_and_loses_it_again(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("data", {}, "")
    (driver.root / "data" / "_data" / "file").write_bytes(b"x" * 100)
    driver.change("data", {"size": "10m"}, "")
    number = number_of(quota, driver, "data")
    counted = driver.counted("data")
    assert quota.limits[number] == (10 * MIB, 0)
    assert counted is not None and (counted.size_bytes, counted.entries) == (100, 1)
    driver.change("data", {}, "")
    assert quota.limits[number] == (0, 0) and driver.limits("data").size_bytes == 0


def test_what_takes_the_place_of_the_data_has_its_number(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("data", {"size": "10m"}, "")
    number = number_of(quota, driver, "data")
    staged = driver.stage("data", "one")
    (staged / "file").write_text("from the image")
    driver.publish("data", "one", in_use=False)
    assert number_of(quota, driver, "data") == number
    assert (driver.root / "data" / "_data" / "file").read_text() == "from the image"


def test_throwing_away_what_was_staged_keeps_the_limit(driver: LocalVolumes, quota: PlayedQuota) -> None:
    driver.create("data", {"size": "10m"}, "")
    (driver.stage("data", "one") / "_data").mkdir()
    driver.unstage("one")
    assert quota.limits[number_of(quota, driver, "data")] == (10 * MIB, 0)
