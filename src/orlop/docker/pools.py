"""Where blocking engine calls run: two bounded pools, so that long work never keeps short calls waiting.

`quick` is for calls that end by themselves soon (create, start, remove, list); `long` for those that move bytes or
wait for something (load, save, export, cp, commit, stop, log reading).

The standard library's pool is not used because an interpreter that ends waits for its threads: one call that hangs in
the kernel, on dead storage, would keep the daemon from stopping. What is cut off here the engine takes up again at the
next start.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

QUICK_THREADS = 24
LONG_THREADS = 32

_Item = tuple["Future[Any]", Callable[[], Any]]


class Pool:
    """At most `size` threads, each made when it is first needed. Thread-safe."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._lock = threading.Lock()
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._threads = 0
        self._waiting = 0  # calls that are queued or run
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
            name = f"{self._name}-{self._threads}"
        self._items.put((future, call))
        if grows:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        return future

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
        while (item := self._items.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
                    future.set_exception(error)
                else:
                    future.set_result(result)
            with self._lock:
                self._waiting -= 1
            del item, future, call  # nothing is kept alive while this thread waits


class Pools:
    def __init__(self) -> None:
        self._quick = Pool("quick", QUICK_THREADS)
        self._long = Pool("long", LONG_THREADS)

    def quick(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.wrap_future(self._quick.submit(lambda: call(*args, **kwargs)))

    def long(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.wrap_future(self._long.submit(lambda: call(*args, **kwargs)))

    def close(self) -> None:
        self._quick.close()
        self._long.close()
