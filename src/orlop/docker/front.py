"""What listens on sockets, answers on their connections and stops well, whatever it is that answers."""

import asyncio
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from orlop.docker.connection import Connection, make_connection
from orlop.docker.listening import SOCKET_MODE, Listener, listen, parse_host
from orlop.docker.messages import Reply, Request

SWEEP_SECONDS = 5
STOP_SECONDS = 3


class Front(ABC):
    """An edge of connections (docker.connection.Edge). `provide` is told, from any thread, that all is ready."""

    head_lines = b""

    def __init__(self, hosts: Sequence[str], group: str, socket_mode: int = SOCKET_MODE) -> None:
        self._hosts = [parse_host(host) for host in hosts]
        self._group = group
        self._socket_mode = socket_mode
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ready = asyncio.Event()
        self.connections: set[Connection] = set()
        self.now = time.monotonic

    @abstractmethod
    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        """Raises what faults.py tells apart."""

    @abstractmethod
    def close(self) -> None:
        """Nothing is asked any more."""

    def note_ready(self) -> None:
        """From any thread."""
        if self._loop is None:
            self.ready.set()
        else:
            self._loop.call_soon_threadsafe(self.ready.set)

    async def serve(self, stop: asyncio.Event, on_listening: Callable[[], None] | None = None) -> None:
        """Until `stop` is set. Raises OrlopError when a host cannot be listened on."""
        self._loop = asyncio.get_running_loop()
        listeners: list[Listener] = []
        sweeper: asyncio.Task[None] | None = None
        try:
            for host in self._hosts:
                listeners.append(await listen(host, make_connection(self), self._group, self._socket_mode))
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
            self.close()

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


def run_front(front: Front, load: Callable[[], None], on_listening: Callable[[], None] | None = None) -> None:
    """Serve in this thread until SIGTERM or SIGINT. `load` makes what answers, in a thread of its own, while the
    sockets are open already; what it raises ends the front and is raised here."""
    uvloop.run(_run(front, load, on_listening))


async def _run(front: Front, load: Callable[[], None], on_listening: Callable[[], None] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failure: list[BaseException] = []

    def loading() -> None:
        try:
            load()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that serves
            failure.append(error)
            loop.call_soon_threadsafe(stop.set)

    def listening() -> None:
        threading.Thread(target=loading, name="load", daemon=True).start()
        if on_listening is not None:
            on_listening()

    await front.serve(stop, listening)
    if failure:
        raise failure[0]
