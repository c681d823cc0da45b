"""Bodies that a blocking call produces: it writes to a pipe in a pool thread, the loop sends what comes out.

A pipe, and not a queue, because it has a descriptor: tar writers and child processes can write to it directly, and the
kernel does the waiting. An error before the first byte becomes a proper answer; one after it cuts the connection.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping
from typing import BinaryIO

from orlop.docker.messages import BodyWriter, Reply, Stream
from orlop.docker.service import Service, finished

PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 20


async def stream_output(
    service: Service,
    call: Callable[[BinaryIO], None],
    content_type: str,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The reply whose body `call` writes to the file it is given. Raises what it raises before its first byte; until
    then `call` may also fill `headers`."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(read_end, False)

    def produce() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as out:
            call(out)

    running = service.long(produce)
    running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # told here if nobody waits
    try:
        first = await _read(read_end, running)
        if not first:  # ended without a byte: with an error, or empty
            await finished(running)
    except BaseException:
        os.close(read_end)  # whoever still writes gets EPIPE
        raise

    async def send(writer: BodyWriter) -> None:
        data = first
        try:
            while data:
                await writer.write(data)
                data = await _read(read_end, running)
        finally:
            os.close(read_end)
        await finished(running)

    return Stream(200, content_type, send, headers or {})


async def _read(descriptor: int, running: "asyncio.Future[None]") -> bytes:
    """The next bytes; b"" when all writers have closed, or the call has ended: a process that it left behind, stuck in
    storage that hangs, still has the other end and will write no more."""
    while True:
        ended = running.done()
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            if ended:
                return b""
            await _until_readable(descriptor, running)


async def _until_readable(descriptor: int, running: "asyncio.Future[None]") -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()

    def wake(_: object = None) -> None:
        ready.set()

    loop.add_reader(descriptor, wake)
    running.add_done_callback(wake)
    try:
        await ready.wait()
    finally:
        running.remove_done_callback(wake)
        loop.remove_reader(descriptor)
