"""/containers: attach, logs, wait, resize."""

import asyncio
from concurrent.futures import Future

from orlop.docker.detach import parse_detach_keys
from orlop.docker.log_stream import LogQuery, stream_logs
from orlop.docker.messages import BodyWriter, Hijack, RawConnection, Reply, Request, Stream, empty, json_response
from orlop.docker.pump import Pump, StreamChoice
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.wire.times import parse_timestamp
from orlop.engine.container_records import WaitResult
from orlop.engine.sessions import Attachment
from orlop.errors import Conflict, Malformed
from orlop.model.container import ContainerState

routes = Routes()

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
CONDITIONS = ("not-running", "next-exit", "removed")


def stream_type(request: Request, tty: bool) -> str:
    return MULTIPLEXED if not tty and request.api >= (1, 42) else RAW


@routes.post("/containers/{id}/attach")
async def attach(service: Service, request: Request) -> Reply:
    engine = service.engine
    container = engine.containers.get(request.parameters["id"])
    if container.status.state is ContainerState.PAUSED:
        raise Conflict("", f"Container {container.name} is paused. Unpause the container before attach")
    keys = parse_detach_keys(request.text("detachKeys"))
    tty = container.config.tty
    wanted = StreamChoice(
        stdin=request.flag("stdin") and container.config.open_stdin,
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        tty=tty,
        detach_keys=keys,
    )
    replay = request.flag("logs")
    follow = request.flag("stream")
    writes = wanted.stdin and not tty
    attached = await service.quick(engine.sessions.attach, container.id, writes) if follow else None

    async def run(client: RawConnection) -> None:
        if replay:
            query = LogQuery(container.id, wanted.stdout, wanted.stderr, tty=tty)
            await stream_logs(service, query, _RawWriter(client))
        if attached is not None:
            await _pump(client, wanted, attached)

    return Hijack(stream_type(request, tty), run)


async def _pump(client: RawConnection, wanted: StreamChoice, attached: "Future[Attachment]") -> None:
    pump = Pump(client, wanted)
    loop = asyncio.get_running_loop()

    def connect(found: Attachment) -> None:
        pump.connect(found.packets, found.input)

    def connected(future: "Future[Attachment]") -> None:
        if not future.cancelled() and future.exception() is None:
            loop.call_soon_threadsafe(connect, future.result())
        else:
            loop.call_soon_threadsafe(pump.stop)

    if attached.done() and not attached.exception():
        connect(attached.result())
    else:
        attached.add_done_callback(connected)
    client.listen(pump)
    try:
        await pump.done
    finally:
        attached.cancel()
        pump.stop()


class _RawWriter(BodyWriter):
    def __init__(self, client: RawConnection) -> None:
        self._client = client

    async def write(self, data: bytes) -> None:
        await self._client.write_waiting(data)


@routes.get("/containers/{id}/logs")
async def logs(service: Service, request: Request) -> Reply:
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    if not (stdout or stderr):
        raise Malformed("", "Bad parameters: you must choose at least one stream")
    container = service.engine.containers.get(request.parameters["id"])
    service.engine.logs.require(container.id)
    query = LogQuery(
        container.id,
        stdout,
        stderr,
        since_ns=parse_timestamp(request.text("since")),
        until_ns=parse_timestamp(request.text("until")),
        tail=_tail(request.text("tail")),
        timestamps=request.flag("timestamps"),
        follow=request.flag("follow"),
        tty=container.config.tty,
    )

    async def produce(writer: BodyWriter) -> None:
        await stream_logs(service, query, writer)

    return Stream(200, stream_type(request, container.config.tty), produce)


def _tail(text: str) -> int | None:
    """A number of lines; "all", anything else and a negative number mean all, as with dockerd."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


@routes.post("/containers/{id}/wait")
async def wait(service: Service, request: Request) -> Reply:
    engine = service.engine
    container = engine.containers.get(request.parameters["id"])
    condition = request.text("condition") or "not-running"
    if condition not in CONDITIONS or request.api < (1, 30):
        if request.api >= (1, 30):
            raise Malformed("", f'invalid condition: "{condition}"', f"Known: {', '.join(CONDITIONS)}")
        condition = "not-running"

    async def produce(writer: BodyWriter) -> None:
        waiting = engine.containers.wait(container.id, condition)
        try:
            result = await asyncio.wrap_future(waiting)
        finally:
            waiting.cancel()
        await writer.write(json_response(_show_result(result)).body)

    return Stream(200, "application/json", produce)


def _show_result(result: WaitResult) -> dict[str, object]:
    # A start that failed is told to who asked for the start; those who wait get the code that stands for it (127, ...).
    if result.error and not result.exit_code:
        return {"Error": {"Message": result.error}, "StatusCode": result.exit_code}
    return {"StatusCode": result.exit_code}


@routes.post("/containers/{id}/resize")
async def resize(service: Service, request: Request) -> Reply:
    height, width = request.number("h"), request.number("w")
    await service.quick(service.engine.sessions.resize, request.parameters["id"], height, width)
    return empty(200)
