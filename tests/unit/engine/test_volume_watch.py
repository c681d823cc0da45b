"""What is found wrong with a mount is told once, shown while it lasts, and mended with patience."""

import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.mount_holders import ContainerMounts, find_outdated
from orlop.engine.mount_trees import MountTrees
from orlop.engine.volume_mending import VolumeMender
from orlop.engine.volume_watch import VolumeWatch
from orlop.errors import Unavailable
from orlop.kernel.mounts import MountEntry
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status
from orlop.model.volume import Volume
from support.daemon import wait_for
from support.volume_house import VolumeHouse, mount_of

STALE = Health(HealthState.STALE, "its program ended")


class Sick:
    """What the driver is made to say."""

    def __init__(self, driver: LocalVolumes) -> None:
        self.now = Health()
        self.mended: list[tuple[str, list[str]]] = []
        self.refusals = 0
        self.asked_for: set[str] = set()
        driver.health = lambda name: self.now  # type: ignore[method-assign]
        driver.watch_only = self.asked_for_only  # type: ignore[method-assign]
        driver.mend = self.mend  # type: ignore[attr-defined]
        self.driver = driver

    def asked_for_only(self, names: Collection[str]) -> None:
        self.asked_for = set(names)

    def mend(self, name: str, use_ids: Collection[str]) -> Path:
        self.mended.append((name, list(use_ids)))
        raise Unavailable(f"attaching volume {name}", "the storage is away")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumeHouse]:
    house = VolumeHouse(tmp_path / "house")
    yield house
    house.stop()


@pytest.fixture
def sick(house: VolumeHouse) -> Sick:
    return Sick(house.driver)


@pytest.fixture
def containers(house: VolumeHouse) -> list[Container]:
    """One that runs, with a volume whose options say that its content is elsewhere."""
    house.volumes.create("far", "local", {"type": "tmpfs", "device": "tmpfs"}, None)
    mount = mount_of(house, "far")
    house.volumes.remember_attached(mount, "c" * 64)
    status = Status(ContainerState.RUNNING, pid=2**22 + 1)
    return [Container("c" * 64, "app", 0, "", ContainerConfig(), HostConfig(), "", (mount,), status=status)]


@pytest.fixture
def watch(house: VolumeHouse, containers: list[Container]) -> Iterator[VolumeWatch]:
    holders = ContainerMounts(MountTrees(lambda image: -1), house.volumes.pin_again)
    watch = house.volumes.watch_mounts(lambda: containers, holders)
    yield watch
    watch.stop()


def told(house: VolumeHouse) -> list[str]:
    return [action for action in house.actions() if action.startswith("health_status")]


def test_a_change_is_told_once_and_shown_as_long_as_it_lasts(
    house: VolumeHouse, sick: Sick, watch: VolumeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.look()
    assert told(house) == [] and house.volumes.get("far").problem == ""
    sick.now = Health(HealthState.HANGING, "it gives no answer")
    for _ in range(3):
        watch.look()
    assert told(house) == ["health_status: hanging"]
    assert house.volumes.get("far").problem == "hanging: it gives no answer"
    assert house.volumes.look_at("far").problem == "hanging: it gives no answer"
    assert watch.count_by_state() == {"stale": 0, "hanging": 1, "away": 0}
    assert house.volumes.list_volumes({})[1] == ["volume far: hanging: it gives no answer"]
    sick.now = Health()
    watch.look()
    assert told(house) == ["health_status: hanging", "health_status: ok"]
    assert house.volumes.look_at("far").problem == ""
    assert house.seen[-1].attributes == {"driver": "local"}
    assert caplog.text.count("volume far: hanging") == 1
    assert sick.mended == []


def test_what_nobody_uses_is_not_looked_at(
    house: VolumeHouse, sick: Sick, watch: VolumeWatch, containers: list[Container]
) -> None:
    assert watch.look() == 1 and sick.asked_for == {"far"}
    sick.now = STALE
    watch.look()
    containers.clear()
    assert watch.look() == 0 and sick.asked_for == set()
    assert house.volumes.get("far").problem == ""
    assert told(house) == ["health_status: stale"]


def test_a_mount_that_somebody_lets_go_of_is_not_taken_for_a_dead_one(
    house: VolumeHouse, sick: Sick, watch: VolumeWatch, containers: list[Container]
) -> None:
    found: list[str] = []

    def look_while_it_goes(name: str, use_id: str) -> None:
        sick.now = STALE
        watch.look()
        found.extend(told(house))

    sick.driver.detach = look_while_it_goes  # type: ignore[method-assign]
    house.volumes.detach(containers[0].mounts[0], containers[0].id)
    watch.look()
    assert found == told(house) == [] and sick.mended == []


def test_mending_that_fails_is_said_and_tried_again_later(house: VolumeHouse, sick: Sick, watch: VolumeWatch) -> None:
    sick.now = STALE
    watch.look()

    def is_said() -> bool:
        watch.look()
        return "mending it failed and is tried again" in house.volumes.get("far").problem

    wait_for("the failure", is_said)
    assert "the storage is away" in house.volumes.get("far").problem
    assert house.volumes.get("far").problem.startswith("stale: its program ended; ")
    tries = len(sick.mended)
    for _ in range(20):
        watch.look()
    assert len(sick.mended) == tries == 1, "it waits before the next try"
    assert [name for name, uses in sick.mended if len(uses) == 1] == ["far"]
    assert told(house) == ["health_status: stale"]


def test_nothing_is_mended_while_its_path_is_on_the_way_into_a_container(
    house: VolumeHouse, sick: Sick, watch: VolumeWatch, containers: list[Container]
) -> None:
    sick.now = STALE
    with house.volumes.keeping_paths(containers[0].mounts):
        watch.look()
        wait_for("the refusal", lambda: watch.look() and "about to mount it" in house.volumes.get("far").problem)
        assert sick.mended == []


def test_waiting_for_a_container_to_mount_it_makes_no_pause_longer(
    house: VolumeHouse,
    sick: Sick,
    watch: VolumeWatch,
    containers: list[Container],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = 0.0, 0

    def are_coming(holders: ContainerMounts, volume: str) -> bool:
        nonlocal asked
        asked += 1
        return asked < 6

    monkeypatch.setattr(ContainerMounts, "are_coming", are_coming)
    monkeypatch.setattr(watch._mender, "_clock", lambda: now)
    sick.now, volume = STALE, house.volumes.get("far")
    while asked < 6:
        before = asked
        watch.look()
        wait_for("the attempt", lambda before=before: asked > before and not watch._mender.is_at_work(volume.id))
        now += 1
    assert [name for name, _ in sick.mended] == ["far"]


def entry(point: str, device: str, fs_type: str = "fuse.rclone", source: str = "s3:b") -> MountEntry:
    return MountEntry(1, 0, device, "/", point, "rw", (), fs_type, source, "rw")


NOW = entry("/host/_data", "0:9")


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ([entry("/p", "0:7")], "/p"),
        ([entry("/p", "0:9")], None),
        ([entry("/p", "0:7"), entry("/p", "0:9")], None),  # mended by a mount on top
        ([entry("/p", "8:1", "ext4")], None),  # somebody mounted something else there
        ([entry("/run/p", "0:7")], "/run/p"),  # a link of the image led there
        ([entry("/run/p", "0:7"), entry("/run/q", "0:7")], None),
        ([], None),
    ],
)
def test_a_dead_mount_is_known_by_its_device(table: list[MountEntry], found: str | None) -> None:
    outdated = find_outdated(table, "/p", NOW)
    assert (outdated.mount_point if outdated else None) == found


class Interruptible:
    def __init__(self) -> None:
        self.interrupted: list[str] = []

    def interrupt(self, name: str) -> None:
        self.interrupted.append(name)


def test_mending_is_given_up_once_all_who_had_it_have_ended(house: VolumeHouse, containers: list[Container]) -> None:
    driver = Interruptible()
    mender = VolumeMender(None, {"cloud": driver}, None, None, None, lambda: containers)  # type: ignore[arg-type,dict-item]
    volume = Volume("far", "1" * 64, "cloud", 0, "")
    running = replace(containers[0], status=replace(containers[0].status, pid=os.getpid()))
    mender.give_up_unneeded(volume, [*containers, running])
    assert driver.interrupted == []
    mender.give_up_unneeded(volume, containers)
    assert driver.interrupted == ["far"]
