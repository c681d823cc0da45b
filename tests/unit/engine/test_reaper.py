"""The reaper, with a clock and a disk of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.reaper import Reaper, free_percent
from orlop.engine.volumes import Volumes
from orlop.errors import Conflict
from orlop.model.volume import RetirementPolicy
from orlop.store.journal import Journal

SECOND_NS = 1_000_000_000


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1_700_000_000 * SECOND_NS
        self.free = 50.0
        self.journal = Journal(root / "journal.db")
        self.driver = LocalVolumes(root / "volumes")
        policy = RetirementPolicy(named_seconds=100, anonymous_seconds=10, low_disk_percent=5)
        self.volumes = Volumes(
            self.journal,
            Executor(self.journal),
            {"local": self.driver},
            Events(),
            root / "subpaths",
            policy,
            lambda: self.now,
        )
        self.reaper = Reaper(self.volumes.retirements, root, lambda: self.now, lambda path: self.free)

    def retire(self, name: str) -> str:
        volume = self.volumes.create(name, "", None, None)
        (Path(volume.mountpoint) / "bytes").write_bytes(b"x" * 100)
        self.volumes.remove(volume.name)
        return volume.name

    def retired(self) -> list[str]:
        return [found.volume.name for found in self.volumes.list_retired()]

    def bytes_left(self) -> int:
        return len(list((self.root / "volumes").rglob("bytes")))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.volumes.close()
    world.journal.close()
    world.driver.close()


def test_nothing_goes_before_its_grace_ends(world: World) -> None:
    world.retire("data")
    world.now += 99 * SECOND_NS
    assert world.reaper.reap() == []
    assert world.retired() == ["data"] and world.bytes_left() == 1
    assert world.reaper.seconds_to_next() == pytest.approx(1)
    world.now += SECOND_NS
    assert [found.volume.name for found in world.reaper.reap()] == ["data"]
    assert world.retired() == [] and world.bytes_left() == 0


def test_an_anonymous_volume_goes_sooner(world: World) -> None:
    world.retire("data")
    world.retire("")
    world.now += 10 * SECOND_NS
    assert len(world.reaper.reap()) == 1
    assert world.retired() == ["data"]


def test_a_low_disk_takes_the_oldest_first_and_only_as_many_as_it_needs(world: World) -> None:
    for name in ("first", "second", "third"):
        world.retire(name)
        world.now += SECOND_NS
    world.free = 4.0
    give_up = world.volumes.retirements.cleanup

    def cleanup_that_frees() -> None:
        give_up()
        if world.bytes_left() <= 1:
            world.free = 6.0

    world.volumes.retirements.cleanup = cleanup_that_frees  # type: ignore[method-assign]
    assert [found.volume.name for found in world.reaper.reap()] == ["first", "second"]
    assert world.retired() == ["third"]


def test_one_that_cannot_go_stays_and_keeps_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.retire("stuck")
    world.retire("loose")
    stuck = world.volumes.list_retired()[0 if world.retired()[0] == "stuck" else 1].id
    purge = world.driver.purge

    def refuse(retired_id: str) -> None:
        if retired_id == stuck:
            raise Conflict("purge", "something is mounted there")
        purge(retired_id)

    monkeypatch.setattr(world.driver, "purge", refuse)
    world.now += 100 * SECOND_NS
    assert [found.volume.name for found in world.reaper.reap()] == ["loose"]
    assert world.retired() == ["stuck"]
    monkeypatch.undo()
    assert [found.volume.name for found in world.reaper.reap()] == ["stuck"]


def test_the_thread_finishes_what_a_crash_left_and_stops_when_told(world: World) -> None:
    world.retire("data")
    (found,) = world.volumes.list_retired()
    world.volumes.retirements.give_up(found, "the daemon is killed after this")
    assert world.bytes_left() == 1
    world.reaper.start()
    world.reaper.stop()
    world.reaper.stop()
    world.volumes.retirements.cleanup()
    assert world.bytes_left() == 0


def test_free_space_is_a_share_of_what_may_be_used(tmp_path: Path) -> None:
    assert 0 < free_percent(tmp_path) <= 100
