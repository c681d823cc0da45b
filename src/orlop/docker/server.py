"""The daemon's front door: listen, answer, stop.

It answers `/_ping` from the first moment on; everything else waits for the engine, which may still be recovering when
the sockets are already open. For the same reason the routes, and with them the engine's code, are not imported before
the engine is there: that takes longer than all the rest of a start.
"""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import uvloop

from orlop.docker.connection import Connection, make_connection
from orlop.docker.listening import Listener, listen, parse_host
from orlop.docker.messages import Reply, Request
from orlop.docker.ping import PATH as PING_PATH
from orlop.docker.ping import PONG
from orlop.docker.pools import Pools
from orlop.docker.service import Service
from orlop.docker.versions import HEAD_LINES, split_version
from orlop.errors import Forbidden

if TYPE_CHECKING:
    from orlop.docker.router import Router
    from orlop.engine.engine import Engine

log = logging.getLogger(__name__)

SWEEP_SECONDS = 5
STOP_SECONDS = 3


class Server:
    """`engine` may be given later, by `provide`."""

    def __init__(self, hosts: Sequence[str], engine: "Engine | None" = None, group: str = "docker") -> None:
        self._hosts = [parse_host(host) for host in hosts]
        self._group = group
        self._router: Router | None = None
        self._pools = Pools()
        self._service = Service(self._pools)
        self._engine_ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.connections: set[Connection] = set()
        self.head_lines = HEAD_LINES
        self.now = time.monotonic
        if engine is not None:
            self.provide(engine)

    def provide(self, engine: "Engine") -> None:
        """From any thread: the engine is ready."""
        from orlop.docker.router import Router
        from orlop.docker.routes.all import TABLES

        self._service.set_engine(engine)
        self._router = Router(TABLES)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._engine_ready.set)

    # Edge

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Raises what the route raises. Browsers name the page's origin with every request that changes something: any
        page could otherwise prune the volumes of a daemon that listens on loopback."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s", request.method, request.path)  # without the query: filters may hold what is private
        if "origin" in request.headers:
            raise Forbidden("", "requests from web pages are not answered", "Use a client, not a browser")
        request.api, request.path = split_version(request.path)
        if self._router is None:
            if request.path == PING_PATH and request.method in ("GET", "HEAD"):
                return PONG
            return self._answer_later(request)
        handler, request.parameters = self._router.find(request.method, request.path, request.api)
        return handler(self._service, request)

    async def _answer_later(self, request: Request) -> Reply:
        await self._engine_ready.wait()
        assert self._router is not None
        handler, request.parameters = self._router.find(request.method, request.path, request.api)
        reply = handler(self._service, request)
        return reply if isinstance(reply, Reply) else await reply

    # Life

    async def serve(self, stop: asyncio.Event, on_listening: Callable[[], None] | None = None) -> None:
        """Until `stop` is set. Raises OrlopError when a host cannot be listened on."""
        self._loop = asyncio.get_running_loop()
        listeners: list[Listener] = []
        sweeper: asyncio.Task[None] | None = None
        try:
            for host in self._hosts:
                listeners.append(await listen(host, make_connection(self), self._group))
            if on_listening is not None:
                on_listening()
            sweeper = asyncio.create_task(self._sweep())
            await stop.wait()
        finally:
            if sweeper is not None:
                sweeper.cancel()
            for listener in listeners:
                listener.close()
            await self._let_end()
            self._service.close()
            self._pools.close()

    async def _let_end(self) -> None:
        """Requests under way get a moment, then every connection is closed."""
        deadline = self.now() + STOP_SECONDS
        for connection in list(self.connections):
            if connection.is_idle:
                connection.shut()
        while any(not connection.is_long for connection in self.connections) and self.now() < deadline:
            await asyncio.sleep(0.02)
        ending = [task for connection in list(self.connections) if (task := connection.shut()) is not None]
        if ending:
            await asyncio.wait(ending, timeout=STOP_SECONDS)

    async def _sweep(self) -> None:
        """Cut off what takes too long; one timer for all connections."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.now()
            for connection in list(self.connections):
                if connection.deadline and connection.deadline < now:
                    connection.time_out()


def run(
    load: "Callable[[], Engine]",
    hosts: Sequence[str],
    on_listening: Callable[[], None] | None = None,
    group: str = "docker",
) -> None:
    """Serve in this thread until SIGTERM or SIGINT. `load` makes the engine, in a thread of its own, while `/_ping` is
    answered already; what it raises ends the server and is raised here."""
    uvloop.run(_run(load, hosts, on_listening, group))


async def _run(
    load: "Callable[[], Engine]", hosts: Sequence[str], on_listening: Callable[[], None] | None, group: str
) -> None:
    server = Server(hosts, group=group)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failure: list[BaseException] = []

    def load_engine() -> None:
        try:
            server.provide(load())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that serves
            failure.append(error)
            loop.call_soon_threadsafe(stop.set)

    def listening() -> None:
        threading.Thread(target=load_engine, name="load", daemon=True).start()
        if on_listening is not None:
            on_listening()

    await server.serve(stop, listening)
    if failure:
        raise failure[0]
