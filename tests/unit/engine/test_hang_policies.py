"""What follows for containers when a volume is not well: decided anew each round, from what is so now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.engine.hang_policies import HangPolicies, Seen
from orlop.model.container import (
    Container,
    ContainerConfig,
    ContainerState,
    HostConfig,
    RestartPolicy,
    Status,
    with_status,
)
from orlop.model.volume import Volume
from support.daemon import wait_for

OK, UNKNOWN = Health(), Health(HealthState.UNKNOWN)
HANGING, STALE = Health(HealthState.HANGING, "no answer"), Health(HealthState.STALE, "its program ended")


class Storage:
    """A driver whose dead mounts are mounted anew by the next start, and that can end what waits."""

    mounts_anew = True

    def __init__(self) -> None:
        self.interrupted: list[str] = []

    def interrupt(self, name: str) -> None:
        self.interrupted.append(name)


@dataclass
class Deck:
    """Containers that do what they are told."""

    containers: dict[str, Container] = field(default_factory=dict)
    storage: Storage = field(default_factory=Storage)
    killed: list[str] = field(default_factory=list)
    ends: bool = True
    now: float = 100.0

    def __post_init__(self) -> None:
        drivers: Mapping[str, object] = {"far": self.storage}
        self.policies = HangPolicies(
            lambda: list(self.containers.values()),
            self,  # type: ignore[arg-type]
            self.end_container,
            drivers,  # type: ignore[arg-type]
            lambda: self.now,
        )

    def add(self, name: str, restart: str = "no") -> None:
        host = HostConfig(restart_policy=RestartPolicy(restart))
        status = Status(state=ContainerState.RUNNING)
        self.containers[name] = Container(name, name, 0, "", ContainerConfig(), host, "", status=status)

    def holds(self, container: Container) -> bool:
        return container.is_frozen

    def begin(self, container_id: str, why: str) -> None:
        self.containers[container_id] = with_status(self.containers[container_id], frozen_for=why)

    def end(self, container_id: str) -> None:
        self.containers[container_id] = with_status(self.containers[container_id], frozen_for="")

    def end_container(self, container_id: str) -> bool:
        self.killed.append(container_id)
        self.end(container_id)  # a frozen process does not die
        return self.ends

    def round(self, **healths: tuple[str, Health]) -> None:
        """By volume: its policy and how it is. All containers use all of them."""
        using = tuple(self.containers.values())
        seen = [
            Seen(Volume(name, f"id of {name}", "far", 0, "", options={"x": "y", "on-hang": policy}), using, health)
            for name, (policy, health) in healths.items()
        ]
        self.policies.act(seen)
        wait_for("what follows to be done", lambda: not self.policies._at_work)

    @property
    def frozen(self) -> list[str]:
        return [container.id for container in self.containers.values() if container.is_frozen]


@pytest.fixture
def deck() -> Iterator[Deck]:
    found = Deck()
    found.add("one")
    yield found
    found.policies.stop()


def test_a_frozen_container_goes_on_only_when_all_its_volumes_are_known_to_be_well(deck: Deck) -> None:
    deck.round(a=("freeze", HANGING), b=("freeze", OK))
    assert deck.frozen == ["one"] and "volume a is hanging: no answer" in deck.containers["one"].status.frozen_for
    deck.round(a=("freeze", OK), b=("freeze", HANGING))
    assert deck.frozen == ["one"]
    deck.round(a=("freeze", OK), b=("freeze", UNKNOWN))
    assert deck.frozen == ["one"]
    deck.round(a=("freeze", OK), b=("freeze", OK))
    assert deck.frozen == []


def test_what_is_not_known_yet_freezes_nobody(deck: Deck) -> None:
    deck.round(a=("freeze", UNKNOWN))
    assert deck.frozen == []


def test_who_waits_is_left_alone(deck: Deck) -> None:
    deck.round(a=("wait", HANGING))
    deck.now += 10_000
    deck.round(a=("wait", HANGING))
    assert deck.frozen == [] == deck.killed == deck.storage.interrupted


def test_nobody_is_killed_before_its_time_and_a_good_moment_begins_it_anew(deck: Deck) -> None:
    for health, seconds in ((HANGING, 59), (OK, 1), (HANGING, 59), (HANGING, 0)):
        deck.round(a=("kill", health))
        deck.now += seconds
    assert deck.killed == []
    deck.now += 1
    deck.round(a=("kill", HANGING))
    assert deck.killed == ["one"] and deck.storage.interrupted == []


def test_what_not_even_sigkill_ends_is_interrupted(deck: Deck) -> None:
    deck.ends = False
    deck.round(a=("kill", HANGING))
    deck.now += 60
    deck.round(a=("kill", HANGING))
    assert deck.storage.interrupted == ["a"]


def test_who_is_to_be_killed_is_not_frozen_by_another_volume(deck: Deck) -> None:
    deck.round(a=("kill", HANGING), b=("freeze", HANGING))
    assert deck.frozen == ["one"]
    deck.now += 60
    deck.round(a=("kill", HANGING), b=("freeze", HANGING))
    assert deck.killed == ["one"] and deck.frozen == []


def test_who_waits_gets_an_error_after_its_time(deck: Deck) -> None:
    deck.round(a=("fail", HANGING))
    assert deck.storage.interrupted == []
    deck.now += 60
    deck.round(a=("fail", HANGING))
    assert deck.storage.interrupted == ["a"] and deck.killed == []


def test_a_disk_that_died_restarts_those_who_want_it_and_freezes_nobody(deck: Deck) -> None:
    deck.add("again", "on-failure")
    for policy in ("wait", "freeze", "fail"):
        deck.round(a=(policy, OK))
        deck.killed.clear()
        deck.round(a=(policy, STALE))
        assert deck.killed == [], "once is not enough"
        deck.now += 1
        deck.round(a=(policy, STALE))
        assert deck.killed == ["again"] and deck.frozen == []
