"""A network that can be cut: a relay on loopback between a client and a server."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536


class Relay:
    """Connections are passed on until `cut`, which ends them and refuses new ones, and after `mend` again. Silence is
    the other way that networks go: `mute` passes nothing on and closes nothing."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._flowing.set()
        self.mend()

    def mend(self) -> None:
        async def listen() -> None:
            self._flowing.set()
            if self._server is None:
                self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
                self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def cut(self) -> None:
        async def close() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._open):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    def mute(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, far_writer}
            try:
                await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
            finally:
                self._open -= {writer, far_writer}
                for end in (writer, far_writer):
                    end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()


@contextmanager
def relay(target: int) -> Iterator[Relay]:
    made = Relay(target)
    made.start()
    try:
        yield made
    finally:
        made.close()
