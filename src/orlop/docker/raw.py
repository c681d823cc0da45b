"""A connection that a route took over."""

import asyncio
import select

from orlop.docker.messages import RawConnection, RawListener

MAX_EARLY_BYTES = 64 << 10


class RawStream(RawConnection):
    """A connection taken over. What arrives before someone listens is kept."""

    def __init__(self, transport: asyncio.Transport, early: bytes, ended: bool) -> None:
        self._transport = transport
        self._early = early
        self._ended = ended
        self._lost = False
        self._paused = False
        self._can_write = True
        self._drained: asyncio.Future[None] | None = None
        self._listener: RawListener | None = None

    def listen(self, listener: RawListener) -> None:
        self._listener = listener
        self.resume_reading()
        early, self._early = self._early, b""
        if early:
            listener.data(early)
        if self._ended:
            listener.end_of_input()
        if self._lost:
            listener.gone()

    def write(self, data: bytes) -> None:
        if not self._lost and not self._transport.is_closing():
            self._transport.write(data)

    async def write_waiting(self, data: bytes) -> None:
        self.write(data)
        if not self._can_write:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        if self._lost:
            raise ConnectionResetError("the client went away")

    def pause_reading(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def received(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener.data(data)
            return
        self._early += data
        if len(self._early) > MAX_EARLY_BYTES:
            self.pause_reading()

    def ended(self) -> None:
        self._ended = True
        if self._listener is not None:
            self._listener.end_of_input()

    def lost(self) -> None:
        self._lost = True
        self._wake()
        if self._listener is not None:
            self._listener.gone()

    def writable(self, possible: bool) -> None:
        self._can_write = possible
        if possible:
            self._wake()
        if self._listener is not None:
            self._listener.can_write(possible)

    def _wake(self) -> None:
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def peer_has_closed(transport: asyncio.Transport) -> bool:
    """After an end of file: has the peer closed for good, or only its sending side? A unix socket tells."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
