"""A container's log to a client: framed or raw, with or without timestamps, once or as it grows."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from orlop.docker.messages import BodyWriter
from orlop.docker.service import Service, finished
from orlop.docker.wire.times import render_log_time
from orlop.engine.logs import LogRecord, LogStream
from orlop.model.container import ContainerState

RECORDS_AT_ONCE = 4000


@dataclass(frozen=True, slots=True)
class LogQuery:
    container_id: str
    stdout: bool
    stderr: bool
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bool = False
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
    """All that is there now."""
    while data := await finished(service.long(_next_bytes, stream, query)):
        await writer.write(data)


def _next_bytes(stream: LogStream, query: LogQuery) -> bytes:
    return render_records(stream.read(RECORDS_AT_ONCE), query)


def render_records(records: Sequence[LogRecord], query: LogQuery) -> bytes:
    parts: list[bytes] = []
    for record in records:
        data = record.data
        if query.timestamps:
            data = render_log_time(record.at_ns) + b" " + data
        if not query.tty:
            parts.append(record.stream.to_bytes(4, "little") + len(data).to_bytes(4, "big"))
        parts.append(data)
    return b"".join(parts)


async def _follow(service: Service, query: LogQuery, stream: LogStream, writer: BodyWriter) -> None:
    """The end is known before the last read, so that nothing written in between is missed."""
    containers = service.engine.containers
    loop = asyncio.get_running_loop()
    ended = asyncio.wrap_future(containers.wait(query.container_id, "not-running"))
    grown = asyncio.Event()
    ended.add_done_callback(lambda _: grown.set())
    loop.add_reader(stream.fileno(), grown.set)
    try:
        while True:
            is_last = ended.done() or _has_ended(service, query.container_id)
            grown.clear()
            await _drain(service, query, stream, writer)
            if is_last:
                return
            await grown.wait()
    finally:
        loop.remove_reader(stream.fileno())
        ended.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await ended


def _has_ended(service: Service, container_id: str) -> bool:
    state = service.engine.containers.get(container_id).status.state
    return state in (ContainerState.EXITED, ContainerState.DEAD, ContainerState.CREATED)
