"""Waiting for work that may come to hang in storage that gives no answer: as long as it gets on, and no longer.

Whoever stands still meanwhile does not stand still for long, and a client who has gone is noticed at once.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from orlop.engine.patience import WAY_OUT
from orlop.errors import Unavailable

T = TypeVar("T")

PATIENCE_SECONDS = 120.0  # without progress; a disk may write for long what it took at once
STILL_PATIENCE_SECONDS = 30.0  # while users stand still: most is on the disk already
_LOOK_SECONDS = 0.1
_ENDING_SECONDS = 1.0


class Patience:
    """One piece of work at a time, in a thread of its own."""

    def __init__(self, subject: str, counted: Callable[[], str], look: Callable[[], None], stop: Callable[[], None]):
        """`counted` says something else as long as the work gets on; `look` is called often, and ends the work by what
        it raises; `stop` makes it end, if anything does."""
        self._subject = subject
        self._counted = counted
        self._look = look
        self._stop = stop
        self._thread = OneThread(subject)

    def await_end(self, work: Callable[[], T], is_still: bool) -> "Future[T]":
        """Of the work, which has ended then, well or with an error. Raises what `look` raises, and Unavailable where
        it does not get on: then it is left behind."""
        running = self._thread.do(work)
        try:
            self._await(running, STILL_PATIENCE_SECONDS if is_still else PATIENCE_SECONDS)
        except BaseException:
            self._stop()
            wait([running], _ENDING_SECONDS)
            raise
        return running

    def end(self) -> None:
        """Nothing more will be asked for. What hangs is left behind."""
        self._thread.end()

    def _await(self, running: Future[T], seconds: float) -> None:
        seen, since = "", time.monotonic()
        while wait([running], _LOOK_SECONDS).not_done:
            self._look()
            counted = self._counted()
            if counted != seen:
                seen, since = counted, time.monotonic()
            elif time.monotonic() - since > seconds:
                why = f"the storage that it is in, or that it goes to, gave no answer for {seconds:g} s"
                raise Unavailable(self._subject, why, WAY_OUT)


class OneThread:
    """A thread for calls that may come to hang: nobody waits for its end, not even the interpreter's."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def do(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def end(self) -> None:
        """After what was to be done."""
        self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)
