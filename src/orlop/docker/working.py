"""Long calls whose client is told how far they are, and which end when nobody waits for them any more."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from orlop.docker.faults import describe_fault
from orlop.docker.messages import BodyWriter, Reply, Request, Stream, json_response
from orlop.docker.service import Service

T = TypeVar("T")
R = TypeVar("R")
D = TypeVar("D")

_PROGRESS_SECONDS = 0.2


class Work(Generic[R, D]):
    """A call in a pool, given what it is to tell how far it is with. Iterated: how far it is, from time to time, until
    it has ended."""

    def __init__(self, service: Service, call: Callable[[Callable[[D], None]], R]) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = threading.Event()
        self._changed = asyncio.Event()
        self._done: D | None = None
        self._running = service.long(call, self._tell)
        self._running.add_done_callback(lambda ended: self._changed.set())

    def _tell(self, done: D) -> None:
        """In the call's thread."""
        if self._left.is_set():
            raise ConnectionResetError("the client went away")
        self._done = done
        self._loop.call_soon_threadsafe(self._changed.set)

    async def begun(self) -> None:
        """It has made progress or ended well; what it raised until then is raised here, for a proper answer."""
        await self._leaving(self._changed.wait())
        if self._running.done():
            self._running.result()

    async def result(self) -> R:
        return await self._leaving(asyncio.shield(self._running))

    def __aiter__(self) -> "Work[R, D]":
        return self

    async def __anext__(self) -> D:
        await self._leaving(self._changed.wait())
        if self._running.done():
            raise StopAsyncIteration
        self._changed.clear()
        await self._leaving(asyncio.sleep(_PROGRESS_SECONDS))
        assert self._done is not None
        return self._done

    async def _leaving(self, waiting: "asyncio.Future[T] | Coroutine[Any, Any, T]") -> T:
        """Wait; when that is cancelled, because the client has gone, end the call and wait for its end."""
        try:
            return await waiting
        except asyncio.CancelledError:
            self._left.set()
            if not self._running.done():
                await asyncio.wait((self._running,))
            self._running.cancelled() or self._running.exception()
            raise


async def reply_of(
    work: Work[R, D], request: Request, show: Callable[[R], object], show_progress: Callable[[D], object], status: int
) -> Reply:
    """What came of it, with that status. Where the client asked for `progress`: a line each time it has got on, then
    the result or the error."""
    if not request.flag("progress"):
        return json_response(show(await work.result()), status)
    await work.begun()

    async def produce(writer: BodyWriter) -> None:
        async for done in work:
            await writer.write(json_response(show_progress(done)).body)
        try:
            answer = {"Result": show(await work.result())}
        except Exception as error:  # noqa: BLE001 - faults.py tells them apart
            answer = {"error": describe_fault(error, f"{request.method} {request.path}")[1]}
        await writer.write(json_response(answer).body)

    return Stream(200, "application/json", produce)
