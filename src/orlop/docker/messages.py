"""Requests and replies, as routes see them.

A route gets a `Request` and gives back one of three replies: a `Response` known in full, a `Stream` whose body is
produced piece by piece, or a `Hijack` that takes the connection over (attach, exec). The connection does the rest.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs

import msgspec

from orlop.docker.wire.decoding import decode_json
from orlop.errors import Malformed, OrlopError
from orlop.model.value import dataclass

MAX_JSON_BYTES = 8 << 20
MAX_BUFFERED_BYTES = 1 << 20

ApiVersion = tuple[int, int]
T = TypeVar("T")

_encoder = msgspec.json.Encoder()


class TooLarge(OrlopError):
    status = 413


class BodySource(Protocol):
    """What a body needs of its connection."""

    def body_wanted(self) -> None:
        """Someone reads: answer `Expect: 100-continue`, let more arrive."""

    def body_full(self) -> None:
        """Enough is waiting to be read: let no more arrive."""


class Body:
    """The bytes of one request, in the order they arrive. One reader."""

    __slots__ = ("_buffered", "_chunks", "_ended", "_error", "_full", "_source", "_waiter", "received")

    def __init__(self, source: BodySource) -> None:
        self._source = source
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._full = False
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.received = 0

    @property
    def ended(self) -> bool:
        return self._ended

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        self.received += len(data)
        if self._buffered > MAX_BUFFERED_BYTES and not self._full:
            self._full = True
            self._source.body_full()
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._ended = True
        self._wake()

    async def read(self) -> bytes:
        """The next bytes; b"" at the end. Raises what cut the body short."""
        pieces = await self.read_pieces()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_pieces(self) -> list[bytes]:
        """The same as it arrived, not joined, which for a large upload is a copy less; [] at the end."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return []
            self._full = False
            self._source.body_wanted()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pieces = list(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        return pieces

    def whole(self) -> bytes | None:
        """The whole body, where it came at once with its head and nobody has read of it; None where it has to be waited
        for, or was cut short."""
        if not self._ended or self._error is not None or len(self._chunks) > 1:
            return None
        return self._chunks[0] if self._chunks else b""

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises TooLarge."""
        parts: list[bytes] = []
        size = 0
        while data := await self.read():
            size += len(data)
            if size > limit:
                raise TooLarge("request body", f"larger than {limit} bytes")
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


_FALSE = frozenset({"", "0", "no", "false", "none"})


class Request:
    """One request. `path` is without the version prefix, `parameters` are what the route's template names."""

    __slots__ = ("_query", "api", "body", "headers", "method", "parameters", "path", "query_text")

    def __init__(self, method: str, path: str, query_text: str, headers: Mapping[str, str], body: Body) -> None:
        self.method = method
        self.path = path
        self.query_text = query_text
        self.headers = headers
        self.body = body
        self.api: ApiVersion = (0, 0)
        self.parameters: Mapping[str, str] = {}
        self._query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            try:
                self._query = parse_qs(self.query_text, keep_blank_values=True, max_num_fields=1000)
            except ValueError as error:
                raise Malformed("query", str(error)) from error
        return self._query

    def text(self, name: str, default: str = "") -> str:
        values = self.query.get(name)
        return values[0] if values else default

    def texts(self, name: str) -> list[str]:
        return self.query.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's rule of truth: anything but "", 0, no, false, none."""
        values = self.query.get(name)
        return default if not values else values[0].strip().lower() not in _FALSE

    def number(self, name: str, default: int = 0) -> int:
        text = self.text(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError as error:
            raise Malformed("", f"invalid value for {name}: {text!r} is not a whole number") from error

    @property
    def wants_upgrade(self) -> bool:
        return "upgrade" in self.headers and "upgrade" in self.headers.get("connection", "").lower()

    async def json(self, kind: type[T]) -> T:
        """The body as a value of the wire; an empty body is all defaults."""
        raw = await self.body.read_all(MAX_JSON_BYTES)
        if not raw:
            return kind()
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise Malformed("", f"unsupported Content-Type header ({content_type}): must be 'application/json'")
        return decode_json(raw, kind)


@dataclass(slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class BodyWriter(Protocol):
    """Where a `Stream` writes its body."""

    async def write(self, data: bytes) -> None:
        """Send, and wait while the client reads too slowly. Raises ConnectionError when the client has gone."""


@dataclass(slots=True)
class Stream:
    """`produce` runs after the headers went out; an exception in it cuts the connection, so that the client sees a
    body that did not end well."""

    status: int
    content_type: str
    produce: Callable[[BodyWriter], Awaitable[None]]
    headers: Mapping[str, str] = field(default_factory=dict)


class RawListener(Protocol):
    """Who gets what the client sends after a hijack."""

    def data(self, data: bytes) -> None: ...

    def end_of_input(self) -> None:
        """The client closed its sending side; it may still read."""

    def gone(self) -> None: ...

    def can_write(self, possible: bool) -> None:
        """Back-pressure: False when the client reads too slowly, True when it has caught up."""


class RawConnection(Protocol):
    """A connection that was taken over."""

    def listen(self, listener: RawListener) -> None: ...

    def write(self, data: bytes) -> None: ...

    async def write_waiting(self, data: bytes) -> None:
        """Write, and wait while the client reads too slowly. Raises ConnectionError when the client has gone."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass(slots=True)
class Hijack:
    """`run` owns the connection until it returns; then it is closed, what was written first being sent."""

    content_type: str
    run: Callable[[RawConnection], Awaitable[None]]


Reply = Response | Stream | Hijack
Handler = Callable[[Any, Request], Reply | Awaitable[Reply]]


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    try:
        body = _encoder.encode(value)
    except UnicodeEncodeError:  # a file's name that is not UTF-8
        body = _encoder.encode(_replaced(msgspec.to_builtins(value)))
    return Response(status, body + b"\n", "application/json", headers or {})


def _replaced(value: Any) -> Any:
    """What cannot be a JSON string becomes U+FFFD, as Docker shows it."""
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case dict():
            return {_replaced(key): _replaced(each) for key, each in value.items()}
        case list():
            return [_replaced(each) for each in value]
    return value


def empty(status: int = 204) -> Response:
    return Response(status)


def error_response(status: int, message: str) -> Response:
    return json_response({"message": message}, status)
