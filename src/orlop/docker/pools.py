"""Where blocking engine calls run: two bounded pools, so that long work never keeps short calls waiting.

`quick` is for calls that end by themselves soon (create, start, remove, list); `long` for those that move bytes or
wait for something (load, save, export, cp, commit, stop, log reading).

A call that takes very long, most likely because storage does not answer, stops counting: for it another thread may be
made, so that calls of others are taken up all the same.

The standard library's pool is not used because an interpreter that ends waits for its threads: one call that hangs in
the kernel, on dead storage, would keep the daemon from stopping. What is cut off here the engine takes up again at the
next start.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

QUICK_THREADS = 24
LONG_THREADS = 32
MOST_THREADS = 400  # of a pool, whatever hangs
STUCK_SECONDS = 1.0  # a quick call that takes longer is waiting for something
LONG_STUCK_SECONDS = 20.0

_Item = tuple["Future[Any]", Callable[[], Any]]


class Pool:
    """At most `size` threads, each made when it is first needed, besides those whose call takes longer than
    `stuck_seconds`. Thread-safe."""

    def __init__(self, name: str, size: int, stuck_seconds: float = STUCK_SECONDS, most: int = MOST_THREADS) -> None:
        self._name = name
        self._size = size
        self._stuck_seconds = stuck_seconds
        self._most = most
        self._lock = threading.Lock()
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._threads = 0
        self._waiting = 0  # calls that are queued or run
        self._running: dict[int, float] = {}  # since when, by thread
        self._watching = False
        self._closed = False

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                future.cancel()
                return future
            self._waiting += 1
            grows = self._waiting > self._threads < self._size
            self._threads += grows
            number = self._threads
            watches = not grows and self._waiting > self._threads and not self._watching
            self._watching |= watches
        self._items.put((future, call))
        if grows:
            self._start_thread(number)
        if watches:
            threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True).start()
        return future

    def _start_thread(self, number: int) -> None:
        threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()

    def _watch(self) -> None:
        """As long as calls queue up: make a thread for each that is stuck."""
        while True:
            time.sleep(self._stuck_seconds / 4)
            with self._lock:
                behind = self._waiting - len(self._running)
                if behind <= 0 or self._closed:
                    self._watching = False
                    return
                late = time.monotonic() - self._stuck_seconds
                stuck = sum(since < late for since in self._running.values())
                wanted = min(self._size + stuck, self._most) - self._threads
                made = max(0, min(wanted, behind))
                self._threads += made
                last = self._threads
            for number in range(last - made + 1, last + 1):
                self._start_thread(number)

    def close(self) -> None:
        """Calls that run are left to themselves; none that waits begins."""
        with self._lock:
            self._closed = True
            threads = self._threads
        while True:
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item[0].cancel()
        for _ in range(threads):
            self._items.put(None)

    def _work(self) -> None:
        me = threading.get_ident()
        while (item := self._items.get()) is not None:
            future, call = item
            with self._lock:
                self._running[me] = time.monotonic()
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del item, future, call  # nothing is kept alive while this thread waits
            with self._lock:
                self._waiting -= 1
                del self._running[me]
                stuck_no_more = self._threads > self._size + len(self._running)
                self._threads -= stuck_no_more
            if stuck_no_more:
                return


class Pools:
    def __init__(self) -> None:
        self._quick = Pool("quick", QUICK_THREADS)
        self._long = Pool("long", LONG_THREADS, LONG_STUCK_SECONDS)

    def quick(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.wrap_future(self._quick.submit(lambda: call(*args, **kwargs)))

    def long(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.wrap_future(self._long.submit(lambda: call(*args, **kwargs)))

    def close(self) -> None:
        self._quick.close()
        self._long.close()
