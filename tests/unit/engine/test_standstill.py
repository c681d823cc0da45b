"""Containers stand still beside their user's pause, and whatever the daemon was killed at."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.engine import standstill
from orlop.engine.container_records import ContainerRecords
from orlop.engine.standstill import Standstill
from orlop.errors import Unavailable, Unsupported
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status, with_status
from orlop.store.journal import Journal

WHY = "volume far is hanging"


class Cgroup:
    """What the kernel has."""

    name = "fake"

    def __init__(self) -> None:
        self.frozen = False
        self.refuses = False
        self.is_stubborn = False

    def freeze(self, container_id: str) -> None:
        if self.refuses:
            raise Unsupported("cgroup", "this host has no freezer")
        self.frozen = True

    def thaw(self, container_id: str) -> None:
        self.frozen = False

    def is_still(self, container_id: str) -> bool:
        return self.frozen and not self.is_stubborn


class Ship:
    """`restart` is a new daemon."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cgroup = Cgroup()
        self.told: list[str] = []
        self.start()
        container = Container("c1", "c1", 0, "", ContainerConfig(), HostConfig(), "", status=Status())
        self.records.save(with_status(container, state=ContainerState.RUNNING))

    def start(self) -> None:
        self.journal = Journal(self.root / "journal.db")
        self.records = ContainerRecords(self.journal)
        self.standstill = Standstill(
            self.records,
            lambda container: self.cgroup,  # type: ignore[arg-type, return-value]
            lambda container, action, more: self.told.append(action),
        )

    def restart(self) -> None:
        self.journal.close()
        self.start()

    @property
    def container(self) -> Container:
        return self.records.find("c1")


@pytest.fixture
def ship(tmp_path: Path) -> Iterator[Ship]:
    found = Ship(tmp_path)
    yield found
    found.journal.close()


def test_a_daemon_killed_before_it_could_freeze_leaves_the_wish_to_the_next(ship: Ship) -> None:
    ship.standstill.begin("c1", WHY)
    ship.cgroup.frozen = False  # as if it had died in between
    ship.restart()
    assert ship.container.is_frozen and not ship.standstill.holds(ship.container)
    ship.standstill.begin("c1", WHY)
    assert ship.cgroup.frozen and ship.standstill.holds(ship.container)
    assert ship.told == ["freeze"], "that is no news"


def test_a_daemon_killed_after_it_thawed_leaves_nothing_that_is_frozen(ship: Ship) -> None:
    ship.standstill.begin("c1", WHY)
    ship.cgroup.frozen = False
    ship.restart()
    ship.standstill.end("c1")
    assert not ship.cgroup.frozen and not ship.container.is_frozen


def test_what_the_kernel_cannot_do_is_not_said_to_be_done(ship: Ship) -> None:
    ship.cgroup.refuses = True
    with pytest.raises(Unsupported):
        ship.standstill.begin("c1", WHY)
    assert not ship.container.is_frozen and ship.told == []


def test_a_pause_outlives_the_thaw_and_a_freeze_the_unpausing(ship: Ship) -> None:
    ship.cgroup.frozen = True
    ship.records.save(with_status(ship.container, state=ContainerState.PAUSED))
    ship.standstill.begin("c1", WHY)
    ship.standstill.end("c1")
    assert ship.cgroup.frozen and ship.container.status.state is ContainerState.PAUSED


def test_who_is_told_to_stop_is_left_alone(ship: Ship) -> None:
    ship.records.save(with_status(ship.container, stopped_by_user=True))
    ship.standstill.begin("c1", WHY)
    assert not ship.cgroup.frozen and not ship.container.is_frozen


def test_who_has_gone_is_no_error(ship: Ship) -> None:
    ship.standstill.begin("nobody", WHY)
    ship.standstill.end("nobody")


def test_for_a_move_nobody_else_thaws_it_and_a_stop_waits_until_it_is_over(ship: Ship) -> None:
    ship.standstill.begin_move("c1", "its volume moves")
    ship.standstill.end("c1")
    assert ship.cgroup.frozen, "its storage answers, which is not why it stands still"
    thawed: list[bool] = []

    def stop() -> None:
        with ship.records.locked("c1") as container:
            ship.standstill.lift(container)
            thawed.append(ship.cgroup.frozen)

    stopping = threading.Thread(target=stop)
    stopping.start()
    stopping.join(0.1)
    assert ship.cgroup.frozen and not thawed
    ship.standstill.end_move("c1")
    stopping.join(10)
    assert thawed == [False] and not ship.container.is_frozen


def test_who_dies_of_a_kill_is_thawed_in_the_middle_of_a_move(ship: Ship) -> None:
    ship.standstill.begin_move("c1", "its volume moves")
    with ship.records.locked("c1") as container:
        ship.standstill.lift(container, is_dying=True)
    assert not ship.cgroup.frozen


def test_who_does_not_come_to_stand_still_goes_on_and_the_move_is_told(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "STILL_SECONDS", 0.05)
    ship.cgroup.is_stubborn = True
    with pytest.raises(Unavailable, match="do not stand still"):
        ship.standstill.begin_move("c1", "its volume moves")
    assert not ship.cgroup.frozen and not ship.container.is_frozen


def test_what_its_storage_froze_goes_on_after_a_move_and_is_frozen_anew_if_need_be(ship: Ship) -> None:
    ship.standstill.begin("c1", WHY)
    ship.standstill.begin_move("c1", "its volume moves")
    assert ship.told == ["freeze"]
    ship.standstill.end_move("c1")
    assert not ship.cgroup.frozen and ship.told == ["freeze", "thaw"]
