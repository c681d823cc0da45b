"""Storage is asked in the background: who wants to know waits for nobody."""

import threading
from collections.abc import Iterator

import pytest

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.drivers.volumes.storage_asking import StorageAsking
from support.daemon import wait_for

AWAY = Health(HealthState.AWAY, "nobody there")


class Far:
    """Storage that answers when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.answer = Health()
        self.may = threading.Event()
        self.may.set()
        self.asked = 0
        self.asking = StorageAsking(5.0, lambda: self.now)

    def ask(self) -> Health:
        self.asked += 1
        assert self.may.wait(20)
        return self.answer

    def health(self) -> Health:
        return self.asking.health("far", self.ask)

    def await_health(self, wanted: Health) -> None:
        wait_for(f"{wanted}", lambda: self.health() == wanted)


@pytest.fixture
def far() -> Iterator[Far]:
    found = Far()
    yield found
    found.may.set()


def test_nothing_is_known_before_the_first_answer(far: Far) -> None:
    far.may.clear()
    assert far.health().state is HealthState.UNKNOWN
    far.may.set()
    far.await_health(Health())


def test_it_is_asked_again_only_after_a_pause(far: Far) -> None:
    far.await_health(Health())
    far.answer = AWAY
    for _ in range(10):
        assert far.health() == Health()
    assert far.asked == 1
    far.now += 5
    far.await_health(AWAY)
    assert far.asked == 2


def test_silence_is_told_and_asks_nobody_else(far: Far) -> None:
    far.await_health(Health())
    far.may.clear()
    far.now += 5
    far.health()
    wait_for("it to be asked", lambda: far.asked == 2)
    far.now += 3
    assert far.health() == Health()
    far.now += 2
    assert far.health().state is HealthState.HANGING
    assert far.asked == 2
    far.may.set()
    far.await_health(Health())


def test_one_that_is_away_stays_so_while_it_is_asked_again(far: Far) -> None:
    far.answer = AWAY
    far.await_health(AWAY)
    far.may.clear()
    far.now += 5
    far.health()
    wait_for("it to be asked", lambda: far.asked == 2)
    far.now += 100
    assert far.health() == AWAY


def test_a_defect_in_asking_is_no_news_of_the_storage(far: Far) -> None:
    def stumble() -> Health:
        raise RuntimeError("a defect")

    far.asking.health("other", stumble)
    wait_for("it to be asked", lambda: far.asking._known["other"].next_at > 0)
    assert far.asking.health("other", stumble).state is HealthState.UNKNOWN
    far.asking.keep_only(("far",))
    assert "other" not in far.asking._known
