"""Bodies that a blocking call consumes: the loop writes what arrives into a pipe, a pool thread or a process of its own
reads it. The counterpart of produce.py: nothing is spooled, and whoever reads slowly makes the client wait.

The call may end before the body does, with an error or because it has seen enough. Then what still arrives is nobody's
business. A body that breaks off ends the pipe early: it is the reader who must notice that what it got is not whole.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable
from typing import TypeVar

from orlop.docker.messages import Request
from orlop.docker.produce import PIPE_BYTES
from orlop.docker.service import Service, finished
from orlop.errors import OrlopError

T = TypeVar("T")


async def stream_input(service: Service, request: Request, call: Callable[[int], T]) -> T:
    """What `call` returns, which is given the descriptor of a pipe with the request's body in it."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(write_end, False)

    def consume() -> T:
        try:
            return call(read_end)
        finally:
            os.close(read_end)  # who still writes gets EPIPE

    running = service.long(consume)
    feeding = asyncio.ensure_future(_feed(request, write_end))
    try:
        await asyncio.wait((feeding, running), return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            os.close(write_end)
            write_end = -1
        return await finished(running)
    except OrlopError:
        if feeding.done() and not feeding.cancelled() and (error := feeding.exception()):
            raise error from None  # the body broke off: what the reader said of it is the consequence
        raise
    finally:
        feeding.cancel()
        await asyncio.wait((feeding,))
        if write_end >= 0:
            os.close(write_end)
        await asyncio.wait((running,))
        running.cancelled() or running.exception()


async def _feed(request: Request, write_end: int) -> None:
    try:
        while pieces := await request.body.read_pieces():
            for piece in pieces:
                await _write(write_end, piece)
    except BrokenPipeError:
        return


async def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await _until_writable(descriptor)


async def _until_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
