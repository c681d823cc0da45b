"""The daemon's front door: listen, answer, stop.

It answers `/_ping` from the first moment on; everything else waits for the engine, which may still be recovering when
the sockets are already open. For the same reason the routes, and with them the engine's code, are not imported before
the engine is there: that takes longer than all the rest of a start.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from orlop.docker.front import Front, run_front
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


class Server(Front):
    """`engine` may be given later, by `provide`."""

    def __init__(self, hosts: Sequence[str], engine: "Engine | None" = None, group: str = "docker") -> None:
        super().__init__(hosts, group)
        self._router: Router | None = None
        self._pools = Pools()
        self._service = Service(self._pools)
        self.head_lines = HEAD_LINES
        if engine is not None:
            self.provide(engine)

    def provide(self, engine: "Engine") -> None:
        """From any thread: the engine is ready."""
        from orlop.docker.router import Router
        from orlop.docker.routes.all import TABLES

        self._service.set_engine(engine)
        self._router = Router(TABLES)
        self.note_ready()

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
        await self.ready.wait()
        assert self._router is not None
        handler, request.parameters = self._router.find(request.method, request.path, request.api)
        reply = handler(self._service, request)
        return reply if isinstance(reply, Reply) else await reply

    def close(self) -> None:
        self._service.close()
        self._pools.close()


def run(
    load: "Callable[[], Engine]",
    hosts: Sequence[str],
    on_listening: Callable[[], None] | None = None,
    group: str = "docker",
) -> None:
    """Serve in this thread until SIGTERM or SIGINT. `load` makes the engine, in a thread of its own, while `/_ping` is
    answered already; what it raises ends the server and is raised here."""
    server = Server(hosts, group=group)
    run_front(server, lambda: server.provide(load()), on_listening)
