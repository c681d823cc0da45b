"""The daemon as a whole: ping, version, info, events, logging in."""

import asyncio
import os
import platform
import time
from collections import deque

from orlop import __version__
from orlop.docker.filters import parse_filters
from orlop.docker.messages import BodyWriter, Reply, Request, Stream, json_response
from orlop.docker.ping import PONG
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.event_out import matches_event, show_event
from orlop.docker.translate.system_out import show_info
from orlop.docker.versions import NEWEST, OLDEST, render_version
from orlop.docker.wire.times import parse_timestamp
from orlop.errors import Malformed, Unsupported
from orlop.model.event import Event

routes = Routes()

MAX_WAITING_EVENTS = 10_000


@routes.get("/_ping")
def ping(service: Service, request: Request) -> Reply:
    return PONG


@routes.head("/_ping")
def ping_head(service: Service, request: Request) -> Reply:
    return PONG


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@routes.get("/version")
def version(service: Service, request: Request) -> Reply:
    kernel = os.uname().release
    architecture = _architecture()
    details = {
        "ApiVersion": render_version(NEWEST),
        "Arch": architecture,
        "Experimental": "false",
        "KernelVersion": kernel,
        "MinAPIVersion": render_version(OLDEST),
        "Os": "linux",
        "PythonVersion": platform.python_version(),
    }
    components = [{"Name": "Engine", "Version": __version__, "Details": details}]
    if service.runtime:
        components.append({"Name": service.runtime, "Version": service.runtime_version, "Details": {}})
    return json_response(
        {
            "Platform": {"Name": "Orlop"},
            "Components": components,
            "Version": __version__,
            "ApiVersion": render_version(NEWEST),
            "MinAPIVersion": render_version(OLDEST),
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": architecture,
            "KernelVersion": kernel,
        }
    )


@routes.get("/info")
async def info(service: Service, request: Request) -> Reply:
    found = await service.quick(service.engine.system.info)
    return json_response(show_info(found, service.events_listening, request.api))


@routes.get("/events")
async def events(service: Service, request: Request) -> Reply:
    filters = parse_filters(request)
    since = parse_timestamp(request.text("since"))
    until = parse_timestamp(request.text("until"))
    if since and until and since > until:
        raise Malformed(
            "", f"`since` time ({request.text('since')}) cannot be after `until` time ({request.text('until')})"
        )
    content_type, before_each = _negotiated(request.headers.get("accept", ""))
    loop, published = asyncio.get_running_loop(), service.engine.events
    waiting: deque[Event] = deque(maxlen=MAX_WAITING_EVENTS)
    arrived = asyncio.Event()

    def heard(event: Event) -> None:
        waiting.append(event)
        loop.call_soon_threadsafe(arrived.set)

    async def send(writer: BodyWriter, event: Event) -> None:
        if matches_event(event, filters) and not (until and event.at_ns > until):
            await writer.write(before_each + json_response(show_event(event, request.api)).body)

    async def produce(writer: BodyWriter) -> None:
        # Only here, where the end is certain to be seen: a client may have left before its answer began. Kept events
        # are given when they are asked for.
        token, past = published.subscribe(heard, since if request.text("since") else None)
        service.events_listening += 1
        try:
            for event in past:
                await send(writer, event)
            while True:
                while waiting:
                    await send(writer, waiting.popleft())
                arrived.clear()
                if waiting:
                    continue
                left = (until - time.time_ns()) / 1e9 if until else None
                if left is not None and left <= 0:
                    return
                try:
                    await asyncio.wait_for(arrived.wait(), left)
                except TimeoutError:
                    return
        finally:
            published.unsubscribe(token)
            service.events_listening -= 1

    return Stream(200, content_type, produce)


def _negotiated(accept: str) -> tuple[str, bytes]:
    """The form of a stream of JSON that a client takes, and what comes before each value (RFC 7464)."""
    for each in accept.split(","):
        kind = each.partition(";")[0].strip().lower()
        if kind == "application/json-seq":
            return kind, b"\x1e"
        if kind in ("application/x-ndjson", "application/jsonl"):
            return kind, b""
    return "application/json", b""


@routes.post("/auth")
async def auth(service: Service, request: Request) -> Reply:
    raise Unsupported("login", "registries are not supported yet", "Bring images in with docker load or docker import")
