"""The daemon's API: calls that answer JSON, streams in and out, and connections taken over.

The version spoken is settled with the first call, as the stock client does: the daemon's newest is asked for by a
ping on the same connection, and the older of the two sides' versions is used for everything after it.
"""

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from orlop.client.address import Address
from orlop.client.errors import ApiError, ClientError, Unreachable
from orlop.client.http import Connection, Response, Sent

NEWEST_VERSION = (1, 52)
OLDEST_VERSION = (1, 41)

Value = str | int | float | bool | None
Query = Mapping[str, Value | Iterable[str]]


class Api:
    """One daemon. A connection is kept for the calls that follow one another; streams get one of their own."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._version = ""
        self._idle: Connection | None = None

    # Calls

    def get(self, path: str, query: Query | None = None) -> Any:
        return self.call("GET", path, query)

    def post(self, path: str, query: Query | None = None, body: Any = None) -> Any:
        return self.call("POST", path, query, body)

    def delete(self, path: str, query: Query | None = None) -> Any:
        return self.call("DELETE", path, query)

    def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> Any:
        """The answer's JSON, None when it has none. Raises ApiError. `meanwhile` runs while the daemon works."""
        response = self._exchange(method, path, query, body, meanwhile=meanwhile)
        content = response.read()
        self._keep(response)
        _require_success(response, content)
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise ClientError(f"the daemon at {self.address.text} answered {method} {path} with no JSON") from None

    # Streams

    def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """An answer whose body is read piece by piece. Raises ApiError."""
        response = self._exchange(method, path, query, body, headers)
        if response.status >= 400:
            _require_success(response, response.read())
        return response

    def upload(
        self, method: str, path: str, query: Query | None, source: IO[bytes], length: int | None, sent: Sent
    ) -> Response:
        """A request whose body is a file's bytes: `length` of them from a regular file, or until its end."""
        return self._upload(method, path, query, source, length, sent, ())

    def upload_pieces(
        self, method: str, path: str, query: Query | None, pieces: Iterable[bytes], sent: Sent
    ) -> Response:
        return self._upload(method, path, query, None, None, sent, pieces)

    def hijack(self, path: str, query: Query | None = None, body: Any = None) -> tuple[socket.socket, bytes]:
        """Take the connection over: the socket, and what already came through it. Raises ApiError."""
        connection = self._connect()
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        try:
            response = self._exchange("POST", path, query, body, headers, connection)
            if response.status >= 400:
                _require_success(response, response.read())
        except BaseException:
            connection.close()
            raise
        return connection.take_over()

    def close(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    # Within

    def versioned(self, path: str) -> str:
        """The path as it is sent: what only Orlop has is not versioned by Docker's numbers."""
        return path if path.startswith("/orlop/") or path == "/_ping" else f"/v{self.version()}{path}"

    def version(self) -> str:
        if not self._version:
            connection = self._connect()
            connection.send("HEAD", "/_ping", {})
            response = connection.receive("HEAD")
            response.read()
            offered = _parse_version(response.headers.get("api-version", ""))
            if offered < OLDEST_VERSION:
                raise ClientError(
                    f"the daemon at {self.address.text} speaks API {response.headers.get('api-version') or 'unknown'}, "
                    f"and orlop needs {_render_version(OLDEST_VERSION)} or newer: is it a container engine?"
                )
            self._version = _render_version(min(offered, NEWEST_VERSION))
            if response.keeps_connection:
                self._idle = connection
            else:
                connection.close()
        return self._version

    def supports(self, major: int, minor: int) -> bool:
        return _parse_version(self.version()) >= (major, minor)

    def _exchange(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        connection: Connection | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> Response:
        target = self.versioned(path) + render_query(query)
        sent = dict(headers or {})
        content = b""
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        channel = connection or self._take_idle()
        channel.send(method, target, sent, content)
        if meanwhile is not None:
            meanwhile()
        return channel.receive(method)

    def _upload(
        self,
        method: str,
        path: str,
        query: Query | None,
        source: IO[bytes] | None,
        length: int | None,
        sent: Sent,
        pieces: Iterable[bytes],
    ) -> Response:
        target = self.versioned(path) + render_query(query)
        connection = self._take_idle()
        headers = {"Content-Type": "application/x-tar"}
        if source is not None and length is not None:
            headers["Content-Length"] = str(length)
            connection.send(method, target, headers)
            connection.send_file(source, length, sent)
        else:
            headers["Transfer-Encoding"] = "chunked"
            connection.send(method, target, headers)
            connection.send_chunks(_read_pieces(source) if source is not None else pieces, sent)
        response = connection.receive(method)
        if response.status >= 400:
            _require_success(response, response.read())
        return response

    def _connect(self) -> Connection:
        return Connection(self.address.connect(), self.address.text)

    def _take_idle(self) -> Connection:
        connection, self._idle = self._idle, None
        return connection or self._connect()

    def _keep(self, response: Response) -> None:
        if response.keeps_connection and self._idle is None:
            self._idle = response.connection
        else:
            response.connection.close()


def quote(text: str) -> str:
    """A path segment or a query value, percent-encoded. (urllib.parse costs as much as a whole short command.)"""
    return "".join(
        chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape")
    )


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def render_query(query: Query | None) -> str:
    """Leaves out what is None or False; True is 1; several values are the same name several times."""
    terms = []
    for name, value in (query or {}).items():
        values = [value] if isinstance(value, str | int | float) or value is None else list(value)
        for one in values:
            if one is not None and one is not False:
                terms.append(f"{quote(name)}={'1' if one is True else quote(str(one))}")
    return "?" + "&".join(terms) if terms else ""


def render_filters(filters: Mapping[str, Iterable[str]]) -> str | None:
    """The `filters` query value; None for no filter."""
    return json.dumps({name: list(values) for name, values in filters.items()}) if filters else None


def json_messages(response: Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a progress or event stream, in order, as they arrive."""
    decoder = json.JSONDecoder()
    rest = ""
    pending = b""
    for piece in response.pieces():
        pending += piece
        whole, _, pending = pending.rpartition(b"\n")
        rest += whole.decode() + "\n" if whole else ""
        while rest := rest.lstrip():
            try:
                message, end = decoder.raw_decode(rest)
            except ValueError:
                break
            yield message
            rest = rest[end:]
    rest = (rest + pending.decode()).lstrip()
    while rest:
        message, end = decoder.raw_decode(rest)
        yield message
        rest = rest[end:].lstrip()


_NO_REASON = "the daemon answered with status {} and no reason: its log may have one"


def _require_success(response: Response, content: bytes) -> None:
    if response.status < 400:
        return
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else None
    raise ApiError(
        response.status, str(message or content.decode(errors="replace").strip() or _NO_REASON.format(response.status))
    )


def _parse_version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _render_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _read_pieces(source: IO[bytes]) -> Iterator[bytes]:
    read = getattr(source, "read1", source.read)
    while piece := read(256 * 1024):
        yield piece


__all__ = ["Api", "ApiError", "ClientError", "Unreachable", "json_messages", "quote", "render_filters"]
