"""How long it is until a container is started again."""

import threading
from typing import Any

from orlop.drivers.runtimes.driver import Exit
from orlop.engine.restarts import Restarts
from orlop.model.container import Container, ContainerConfig, HostConfig, RestartPolicy, Status, with_status

SECOND = 1_000_000_000


def container(policy: str = "always", **status: Any) -> Container:
    host = HostConfig(restart_policy=RestartPolicy(policy))
    made = Container("1" * 64, "one", 0, "", ContainerConfig(), host, "", status=Status())
    return with_status(made, **status)


def exit_after(seconds: float, code: int = 1) -> Exit:
    return Exit("1" * 64, "", code, False, int(seconds * SECOND))


def test_each_restart_in_a_row_is_later_until_one_has_run_for_a_while() -> None:
    restarts = Restarts(lambda container_id: None)
    delays = [restarts.delay_after(container(), exit_after(1)) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60
    assert restarts.delay_after(container(), exit_after(11)) == 0.1


def test_no_policy_no_restart_but_who_was_stopped_for_a_while_comes_back() -> None:
    restarts = Restarts(lambda container_id: None)
    assert restarts.delay_after(container("no"), exit_after(1)) is None
    assert restarts.delay_after(container(stopped_by_user=True), exit_after(1)) is None
    assert restarts.delay_after(container("no", comes_back="its volume moves"), exit_after(1)) == 0.0


def test_what_does_not_answer_is_asked_for_a_day_also_with_tries_in_between() -> None:
    restarts = Restarts(lambda container_id: None)
    delays = [restarts.delay_until_it_answers("one") for _ in range(6)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    since = restarts.cancel("one")
    assert since is not None
    assert restarts.delay_until_it_answers("one", since - 25 * 3600) is None
    assert restarts.delay_until_it_answers("one") == 1.0, "a new wish has a day of its own"


def test_what_is_cancelled_held_back_or_over_does_not_start() -> None:
    before = set(threading.enumerate())
    started: list[str] = []
    is_started = threading.Event()

    def start(container_id: str) -> None:
        started.append(container_id)
        is_started.set()

    restarts = Restarts(start)
    restarts.are_held = True
    restarts.start_later("held", 0.0)
    restarts.are_held = False
    restarts.start_later("cancelled", 3600)
    restarts.cancel("cancelled")
    restarts.start_later("over", 3600)
    restarts.start_later("one", 0.0)
    assert is_started.wait(10)
    restarts.close()
    assert restarts.delay_after(container(), exit_after(1)) is None
    assert started == ["one"]
    for timer in set(threading.enumerate()) - before:
        timer.join(10)
        assert not timer.is_alive(), "or it would start it an hour later"
