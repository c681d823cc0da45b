"""Where blocking engine calls run: two bounded pools, so that long work never keeps short calls waiting.

`quick` is for calls that end by themselves soon (create, start, remove, list); `long` for those that move bytes or
wait for something (load, save, export, cp, commit, stop, log reading).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

QUICK_THREADS = 24
LONG_THREADS = 32


class Pools:
    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(QUICK_THREADS, thread_name_prefix="quick")
        self._long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="long")

    def quick(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.wrap_future(self._quick.submit(call, *args, **kwargs))

    def long(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.wrap_future(self._long.submit(call, *args, **kwargs))

    def close(self) -> None:
        """Calls that run are left to end by themselves; none that waits begins."""
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)
