"""A container's log to a client: framed or raw, with or without timestamps, once or as it grows."""

import asyncio
import contextlib

from orlop.docker.messages import BodyWriter
from orlop.docker.packets import frame_head
from orlop.docker.service import Service, finished
from orlop.engine.logs import LogStream
from orlop.model.value import dataclass

RECHECK_SECONDS = 1.0  # the end of a container that ended before the watch began is only known by asking


@dataclass(frozen=True, slots=True)
class LogQuery:
    container_id: str
    stdout: bool
    stderr: bool
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    follow: bool = False
    tty: bool = False


async def stream_logs(service: Service, query: LogQuery, writer: BodyWriter) -> None:
    """Until the log's end, or with `follow` until the container has stopped and all it wrote is sent."""
    stream = await service.long(
        service.engine.logs.open,
        query.container_id,
        stdout=query.stdout,
        stderr=query.stderr,
        since_ns=query.since_ns,
        until_ns=query.until_ns,
        tail=query.tail,
    )
    try:
        if query.follow:
            await _follow(service, query, stream, writer)
        else:
            await _drain(service, query, stream, writer)
    finally:
        stream.close()


async def _drain(service: Service, query: LogQuery, stream: LogStream, writer: BodyWriter) -> None:
    """All that is there now. The next piece is read while the client takes this one."""
    reading = service.long(_next_bytes, stream, query)
    try:
        while data := await finished(reading):
            reading = service.long(_next_bytes, stream, query)
            await writer.write(data)
    finally:
        if not reading.done():  # it uses the stream, which is about to be closed
            await asyncio.wait([reading])


def _next_bytes(stream: LogStream, query: LogQuery) -> bytes:
    parts: list[bytes] = []
    for output in stream.read_output(query.timestamps):
        if not query.tty:
            parts.append(frame_head(output.stream, len(output.data)))
        parts.append(output.data)
    return b"".join(parts)


async def _follow(service: Service, query: LogQuery, stream: LogStream, writer: BodyWriter) -> None:
    """Whether it is the end is asked before the last read, so that nothing written in between is missed."""
    loop = asyncio.get_running_loop()
    grown = asyncio.Event()
    loop.add_reader(stream.fileno(), grown.set)
    try:
        while True:
            is_last = stream.is_complete
            grown.clear()
            await _drain(service, query, stream, writer)
            if is_last:
                return
            if stream.is_complete:
                continue  # the drain itself came upon the end
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(grown.wait(), RECHECK_SECONDS)
    finally:
        loop.remove_reader(stream.fileno())
