"""The pools that blocking calls run on."""

import subprocess
import sys
import threading

import pytest

from orlop.docker.pools import Pool
from support.edge import wait_until


def test_results_and_errors_reach_who_waits() -> None:
    pool = Pool("test", 2)
    assert pool.submit(lambda: 42).result(10) == 42
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(10)
    assert pool.submit(lambda: 43).result(10) == 43
    pool.close()


def test_no_more_calls_run_than_there_are_threads_and_none_is_lost() -> None:
    pool, gate, running = Pool("test", 3), threading.Event(), threading.Semaphore(0)

    def call() -> None:
        running.release()
        assert gate.wait(10)

    futures = [pool.submit(call) for _ in range(10)]
    for _ in range(3):
        assert running.acquire(timeout=10)
    assert not running.acquire(blocking=False)
    gate.set()
    for future in futures:
        future.result(10)
    pool.close()


def test_calls_that_hang_keep_no_others_waiting() -> None:
    pool, gate = Pool("test", 2, stuck_seconds=0.05), threading.Event()
    hanging = [pool.submit(lambda: gate.wait(10)) for _ in range(5)]
    assert pool.submit(lambda: 42).result(5) == 42
    assert not any(future.done() for future in hanging)
    gate.set()
    assert all(future.result(10) for future in hanging)
    pool.close()


def test_threads_made_for_calls_that_hang_go_again() -> None:
    pool, gate = Pool("crowd", 1, stuck_seconds=0.05), threading.Event()
    hanging = [pool.submit(lambda: gate.wait(10)) for _ in range(5)]
    pool.submit(lambda: None).result(5)
    gate.set()
    for future in hanging:
        future.result(10)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("crowd-")]
    wait_until(lambda: sum(thread.is_alive() for thread in threads) <= 1)
    assert pool.submit(lambda: 43).result(5) == 43
    pool.close()


def test_one_call_at_a_time_needs_one_thread() -> None:
    pool = Pool("alone", 8)
    for _ in range(20):
        pool.submit(lambda: None).result(10)
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("alone-")}
    pool.close()
    assert len(names) <= 2, "the thread that told its result may not have come back yet when the next call came"


def test_a_closed_pool_begins_nothing() -> None:
    pool, gate, running = Pool("test", 1), threading.Event(), threading.Event()

    def call() -> str:
        running.set()
        assert gate.wait(10)
        return "done"

    under_way = pool.submit(call)
    assert running.wait(10)
    waiting = pool.submit(call)
    pool.close()
    assert waiting.cancelled()
    assert pool.submit(call).cancelled()
    gate.set()
    assert under_way.result(10) == "done"


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = """
import threading
from orlop.docker.pools import Pool
started = threading.Event()
pool = Pool("test", 1)
pool.submit(lambda: (started.set(), threading.Event().wait()))
started.wait()
pool.close()
print("the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)
    assert done.stdout == b"the end\n"
