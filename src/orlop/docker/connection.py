"""One HTTP connection: bytes in, requests out to the edge, replies back.

    HEAD -> (body) -> a route answers -> HEAD ...        keep-alive and pipelining: one request at a time, in order
                           |
                           +-> RAW: a hijacked stream, until it ends
    anything wrong, or "close" -> LINGER: our side is closed, what still arrives is thrown away

Closing a socket that holds unread bytes makes the kernel reset the connection and may cost the client our last words,
hence LINGER. Limits: head and chunk lines in size, a head's arrival and a body's progress in time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Protocol, cast

from orlop.docker.faults import fault_response
from orlop.docker.framing import BodyDecoder, ChunkDecoder, LengthDecoder
from orlop.docker.heads import HeadReader, RequestHead, render_head
from orlop.docker.messages import (
    Body,
    Hijack,
    Reply,
    Request,
    Response,
    Stream,
    error_response,
)
from orlop.docker.raw import RawStream, peer_has_closed
from orlop.errors import Malformed, OrlopError

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 << 10
MAX_PIPELINED_BYTES = 64 << 10
HEAD_SECONDS = 60
BODY_SECONDS = 600
LINGER_SECONDS = 10

_NO_BODY = frozenset({204, 304})


class Edge(Protocol):
    """What a connection needs of the server."""

    connections: "set[Connection]"
    head_lines: bytes  # headers that every answer carries, each with its line end
    now: Callable[[], float]

    def answer(self, request: Request) -> Reply | Awaitable[Reply]: ...


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    RAW = auto()
    LINGER = auto()


class Connection(asyncio.Protocol):
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._state = _State.HEAD
        self._buffer = b""
        self._reader = HeadReader()
        self._transport: asyncio.Transport
        self._body: Body | None = None
        self._decoder: BodyDecoder | None = None
        self._request: Request | None = None  # being answered
        self._task: asyncio.Task[None] | None = None
        self._keep_alive = True
        self._http_10 = False
        self._expects_continue = False
        self._advancing = False
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self._can_write = True
        self._raw: RawStream | None = None
        self._closed = False
        self._eof = False
        self.is_long = False  # a stream or a hijacked connection: it ends when the client or the container wants
        self.deadline = 0.0  # of what is being waited for; 0 = none

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own
        self._edge.connections.add(self)
        self.deadline = self._edge.now() + HEAD_SECONDS

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._edge.connections.discard(self)
        if self._body is not None and not self._body.ended:
            self._body.fail(ConnectionResetError("the client went away"))
        self._wake_writer()
        if self._raw is not None:
            self._raw.lost()
        if self._task is not None and self._raw is None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._state is _State.RAW:
            assert self._raw is not None
            self._raw.received(data)
        elif self._state is not _State.LINGER:
            self._buffer = self._buffer + data if self._buffer else data
            self._advance()

    def eof_received(self) -> bool:
        self._eof = True
        if self._state is _State.RAW:
            assert self._raw is not None
            if peer_has_closed(self._transport):
                self._transport.abort()
            else:
                self._raw.ended()
            return True
        if self._state is _State.LINGER or self._request is None:
            return False
        if self._body is not None and not self._body.ended:
            self._body.fail(Malformed("", "the request's body ended early"))
        if peer_has_closed(self._transport):
            self._transport.abort()  # nobody is there to read the answer
        return True

    def pause_writing(self) -> None:
        self._can_write = False
        if self._raw is not None:
            self._raw.writable(False)

    def resume_writing(self) -> None:
        self._can_write = True
        self._wake_writer()
        if self._raw is not None:
            self._raw.writable(True)

    # What the server asks

    @property
    def is_idle(self) -> bool:
        return self._request is None

    def shut(self) -> "asyncio.Task[None] | None":
        """The server stops. What has to end first, if anything."""
        if self._task is not None:
            self._task.cancel()
        self._transport.close()
        return self._task

    def time_out(self) -> None:
        """The deadline has passed."""
        self.deadline = 0.0
        if self._state is _State.LINGER:
            self._transport.close()
        elif self._body is not None and not self._body.ended:
            self._body.fail(_Slow("", "the request's body did not arrive in time"))
        elif self._request is None and self._buffer:
            self._refuse(408, "the request did not arrive in time")
        elif self._request is None:
            self._transport.close()

    # Bytes to requests

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and not self._closed:
                if self._state is _State.BODY:
                    self._take_body()
                elif self._state is not _State.HEAD:
                    return
                elif self._request is not None:
                    if len(self._buffer) > MAX_PIPELINED_BYTES:
                        self._pause()
                    return
                elif not self._take_head():
                    return
        finally:
            self._advancing = False

    def _take_head(self) -> bool:
        """True when a whole head was there."""
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if self._buffer.startswith(b"\r\n"):  # a stray line end after the last request is allowed
                self._buffer = self._buffer[2:]
                return True
            if len(self._buffer) >= MAX_HEAD_BYTES:
                self._refuse(431, f"the request's head is larger than {MAX_HEAD_BYTES} bytes")
            elif not self.deadline:
                self.deadline = self._edge.now() + HEAD_SECONDS
            return False
        raw, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        self.deadline = 0.0
        try:
            head = self._reader.read(raw)
        except Malformed as error:
            self._refuse(400, error.message)
            return False
        self._begin(head)
        return True

    def _begin(self, head: RequestHead) -> None:
        self._http_10 = head.http_10
        self._keep_alive = head.keep_alive
        self._body = body = Body(self)
        length = head.content_length
        if not head.has_body:
            body.end()
        elif length and len(self._buffer) >= length and not head.expects_continue:
            # It came with its head, as that of a short call does: nobody has to wait for it.
            body.feed(self._buffer[:length])
            self._buffer = self._buffer[length:]
            body.end()
        else:
            self._decoder = ChunkDecoder() if head.is_chunked else LengthDecoder(head.content_length)
            self._state = _State.BODY
            self._expects_continue = head.expects_continue
            self.deadline = self._edge.now() + BODY_SECONDS
        self._dispatch(Request(head.method, head.path, head.query, head.headers, body))

    def _take_body(self) -> None:
        assert self._body is not None
        assert self._decoder is not None
        data, self._buffer = self._buffer, b""
        try:
            pieces, rest = self._decoder.feed(data)
        except OrlopError as error:
            self._body.fail(error)
            self._keep_alive = False
            self._state = _State.LINGER
            return
        for piece in pieces:
            self._body.feed(piece)
        if rest is None:
            self.deadline = self._edge.now() + BODY_SECONDS
            return
        self._buffer = rest
        self._state = _State.HEAD
        self.deadline = 0.0
        self._resume()
        self._body.end()

    def body_wanted(self) -> None:
        if self._expects_continue:
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._state is _State.BODY:
            self.deadline = self._edge.now() + BODY_SECONDS
        self._resume()

    def body_full(self) -> None:
        self.deadline = 0.0  # the client waits for us, not we for it
        self._pause()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # Requests to replies

    def _dispatch(self, request: Request) -> None:
        self._request = request
        try:
            reply = self._edge.answer(request)
        except Exception as error:  # noqa: BLE001 - faults.py tells them apart
            reply = fault_response(error, f"{request.method} {request.path}")
        if isinstance(reply, Response):
            self._send(request, reply)
            self._finish()
        else:
            self._task = asyncio.get_running_loop().create_task(self._answer(request, reply))

    async def _answer(self, request: Request, reply: Reply | Awaitable[Reply]) -> None:
        what = f"{request.method} {request.path}"
        try:
            if not isinstance(reply, Response | Stream | Hijack):
                try:
                    reply = await reply
                except Exception as error:  # noqa: BLE001 - faults.py tells them apart
                    reply = fault_response(error, what)
            if self._closed:
                return
            self.is_long = not isinstance(reply, Response)
            if isinstance(reply, Response):
                self._send(request, reply)
            elif isinstance(reply, Stream):
                await self._send_stream(request, reply)
            else:
                await self._hijack(request, reply)
        except ConnectionError:
            self._transport.abort()
        except Exception:
            log.exception("cut off: %s", what)
            self._transport.abort()
        finally:
            self._task = None
            self.is_long = False
            self._finish()

    def _head(self, reply: Response | Stream, body_line: bytes) -> bytes:
        if self._state is not _State.HEAD:  # something of the body is still to come, or never will
            self._keep_alive = False
        connection = b""
        if not self._keep_alive:
            connection = b"Connection: close\r\n"
        elif self._http_10:
            connection = b"Connection: keep-alive\r\n"
        fixed = self._edge.head_lines
        return render_head(reply.status, reply.content_type, reply.headers, fixed, connection, body_line)

    def _send(self, request: Request, reply: Response) -> None:
        body_line = b"" if reply.status in _NO_BODY else b"Content-Length: %d\r\n" % len(reply.body)
        head = self._head(reply, body_line)
        self._transport.write(head if request.method == "HEAD" else head + reply.body)

    async def _send_stream(self, request: Request, reply: Stream) -> None:
        chunked = not self._http_10
        if not chunked:
            self._keep_alive = False
        self._transport.write(self._head(reply, b"Transfer-Encoding: chunked\r\n" if chunked else b""))
        if request.method == "HEAD":
            return
        await reply.produce(_Writer(self, chunked))
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    async def write_piece(self, pieces: list[bytes]) -> None:
        if self._closed:
            raise ConnectionResetError("the client went away")
        self._transport.writelines(pieces)
        if not self._can_write:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
            if self._closed:
                raise ConnectionResetError("the client went away")

    async def _hijack(self, request: Request, reply: Hijack) -> None:
        self._keep_alive = False
        upgraded = b"101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        status = upgraded if request.wants_upgrade else b"200 OK\r\n"
        content_type = f"Content-Type: {reply.content_type}\r\n\r\n".encode()
        self._transport.write(b"HTTP/1.1 " + status + self._edge.head_lines + content_type)
        early, self._buffer = self._buffer, b""
        self._state = _State.RAW
        self._resume()
        self._raw = RawStream(self._transport, early, self._eof)
        await reply.run(self._raw)

    def _finish(self) -> None:
        """The current request is answered."""
        self._request = None
        if self._closed or self._transport.is_closing():
            return
        if not self._keep_alive:
            self._linger()
            return
        self._body = None
        self._resume()
        self._advance()
        if self._eof and self._request is None and not self._advancing:
            self._transport.close()

    def _refuse(self, status: int, message: str) -> None:
        self._keep_alive = False
        self._send(_NOBODY, error_response(status, message))
        self._linger()

    def _linger(self) -> None:
        self._state = _State.LINGER
        self._buffer = b""
        if self._raw is not None:
            self._raw.resume_reading()
            self._raw = None
        self.deadline = self._edge.now() + LINGER_SECONDS
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._resume()

    def _wake_writer(self) -> None:
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class _Slow(OrlopError):
    status = 408


class _NoSource:
    def body_wanted(self) -> None: ...

    def body_full(self) -> None: ...


_NOBODY = Request("GET", "", "", {}, Body(_NoSource()))


class _Writer:
    """A stream's body, in chunks where the client knows them."""

    __slots__ = ("_chunked", "_connection")

    def __init__(self, connection: Connection, chunked: bool) -> None:
        self._connection = connection
        self._chunked = chunked

    async def write(self, data: bytes) -> None:
        if data:
            pieces = [b"%x\r\n" % len(data), data, b"\r\n"] if self._chunked else [data]
            await self._connection.write_piece(pieces)


def make_connection(edge: Edge) -> Callable[[], Any]:
    return lambda: Connection(edge)
