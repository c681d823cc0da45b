"""Counting in the background: shared, bounded, and not stopped by storage that hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from orlop.drivers.volumes.abilities import Measurement
from orlop.engine import measuring
from orlop.engine.measuring import Measurer
from orlop.errors import HostFailure

FOUND = Measurement(10, 4096, 1, 0)
SECONDS = 20


@pytest.fixture
def measurer() -> Iterator[Measurer]:
    """What takes long does so soon; what only waits for its turn on a busy machine does not count as hanging."""
    measurer = Measurer(quick=0.05, long=0.2, grace=SECONDS)
    yield measurer
    measurer.close()


def until_stopped(stop: Callable[[], bool]) -> None:
    while not stop():
        threading.Event().wait(0.002)


def test_a_volume_is_counted_once_for_all_who_ask(measurer: Measurer) -> None:
    gate, walks = threading.Event(), []

    def walk(stop: Callable[[], bool]) -> Measurement:
        walks.append(threading.current_thread().name)
        gate.wait(SECONDS)
        return FOUND

    futures = [measurer.count("data", "volume data", walk) for _ in range(3)]
    assert measurer.is_counting("data")
    gate.set()
    assert [future.result(SECONDS) for future in futures] == [FOUND] * 3
    assert walks == ["measuring"]
    assert not measurer.is_counting("data")


def test_what_takes_long_goes_on_where_it_keeps_nobody_waiting(measurer: Measurer) -> None:
    released = threading.Event()

    def large(stop: Callable[[], bool]) -> Measurement | None:
        if threading.current_thread().name == "measuring-long":
            released.wait(SECONDS)
            return FOUND
        until_stopped(stop)
        return None

    slow = measurer.count("large", "volume large", large)
    assert measurer.count("small", "volume small", lambda stop: FOUND).result(SECONDS) == FOUND
    assert not slow.done()
    released.set()
    assert slow.result(SECONDS) == FOUND


def test_only_a_long_count_rests(measurer: Measurer, monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[str] = []
    clock = SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda _: rested.append(threading.current_thread().name)
    )  # of this module alone: others of this process sleep, too
    monkeypatch.setattr(measuring, "time", clock)
    assert measurer.count("huge", "volume huge", lambda stop: until_stopped(stop)).result(SECONDS) is None
    assert set(rested) == {"measuring-long"}


def test_what_takes_too_long_even_so_cannot_be_told(measurer: Measurer) -> None:
    assert measurer.count("huge", "volume huge", lambda stop: until_stopped(stop)).result(SECONDS) is None


def test_a_failure_is_no_figure(measurer: Measurer) -> None:
    def fail(stop: Callable[[], bool]) -> Measurement:
        raise HostFailure("data", "the disk fails")

    assert measurer.count("data", "volume data", fail).result(SECONDS) is None
    assert measurer.count("data", "volume data", lambda stop: FOUND).result(SECONDS) == FOUND


def test_storage_that_hangs_is_left_behind_until_it_answers(
    measurer: Measurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, begun, back = threading.Event(), threading.Event(), threading.Event()
    now = [0.0]
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def hang(stop: Callable[[], bool]) -> None:
        begun.set()
        storage.wait(SECONDS)
        back.set()

    hanging = measurer.count("nfs", "volume nfs", hang)
    others: list[Future[Measurement | None]] = [measurer.count("data", "volume data", lambda stop: FOUND)]
    assert begun.wait(SECONDS)
    now[0] = 2.0 * SECONDS
    assert measurer.await_all([hanging, *others], SECONDS)
    assert (hanging.result(), others[0].result()) == (None, FOUND)
    assert measurer.count("nfs", "volume nfs", lambda stop: FOUND).result(SECONDS) is None
    storage.set()
    assert back.wait(SECONDS)
    while measurer.count("nfs", "volume nfs", lambda stop: FOUND).result(SECONDS) is None:
        threading.Event().wait(0.002)


def test_waiting_has_an_end(measurer: Measurer) -> None:
    gate = threading.Event()
    waiting = Measurer()  # with the usual, long deadlines
    future = waiting.count("data", "volume data", lambda stop: FOUND if gate.wait(SECONDS) else None)
    assert not waiting.await_all([future], 0.01)
    gate.set()
    assert waiting.await_all([future], SECONDS)
    waiting.close()


def test_what_waits_when_it_closes_is_cancelled(measurer: Measurer) -> None:
    gate = threading.Event()
    measurer.count("first", "volume first", lambda stop: FOUND if gate.wait(SECONDS) else None)
    second = measurer.count("second", "volume second", lambda stop: FOUND)
    measurer.close()
    gate.set()
    assert second.cancelled() or second.result(SECONDS) == FOUND
    assert measurer.count("third", "volume third", lambda stop: FOUND).cancelled()
