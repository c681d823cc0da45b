"""HTTP/1.1 on one socket, as little of it as the daemon's API needs.

The standard library's client costs more to import than most commands take to run. What is spoken here: requests
with a body of known length, from a file (sent by the kernel) or in chunks; answers with a length, in chunks or until
the end of the connection; 101 and 200 upgrades, after which the socket belongs to the caller.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

from orlop.client.errors import Unreachable

_RECEIVE_BYTES = 256 * 1024
_SENDFILE_BYTES = 4 * 1024 * 1024
_LONGEST_HEAD_BYTES = 256 * 1024

Sent = Callable[[int], None]  # told of each piece of an upload: the bytes that went out


class Connection:
    """One socket to the daemon: write a request, read its answer, and the next."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.socket = connection
        self._address = address
        self._buffer = bytearray()

    def close(self) -> None:
        self.socket.close()

    @property
    def has_received(self) -> bool:
        """Whether something of an answer is here already, which a poll of the socket would not see."""
        return bool(self._buffer)

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: orlop", "User-Agent: orlop"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or (method != "GET" and "Transfer-Encoding" not in headers and "Content-Length" not in headers):
            lines.append(f"Content-Length: {len(body)}")
        self._transmit(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def send_file(self, source: IO[bytes], length: int, sent: Sent) -> None:
        """The body from a regular file, by the kernel. The head must have promised `length` bytes."""
        try:
            offset = source.tell()
            end = offset + length
            while offset < end:
                count = os.sendfile(self.socket.fileno(), source.fileno(), offset, min(_SENDFILE_BYTES, end - offset))
                if count == 0:
                    raise Unreachable("the file became shorter while it was sent")
                offset += count
                sent(count)
        except (BrokenPipeError, ConnectionResetError):
            return  # the daemon has stopped listening: its answer says why

    def send_chunks(self, pieces: Iterable[bytes], sent: Sent) -> None:
        """The body in chunks. The head must have promised them."""
        try:
            for piece in pieces:
                if piece:
                    self.socket.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
                    sent(len(piece))
            self.socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return  # as above

    def receive(self, method: str = "GET") -> "Response":
        """The head of the answer; its body is read from the Response."""
        while True:
            head = self._read_head()
            status_line, *lines = head.split("\r\n")
            version, _, rest = status_line.partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
                raise Unreachable(f"{self._address} does not speak HTTP: it answered {status_line[:60]!r}")
            status = int(rest[:3])
            if status != 100:
                break
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Response(self, status, headers, is_bodyless=method == "HEAD" or status in (101, 204, 304))

    def take_over(self) -> tuple[socket.socket, bytes]:
        """The socket itself, and what was received after the answer's head."""
        leftover = bytes(self._buffer)
        self._buffer.clear()
        return self.socket, leftover

    def read_line(self) -> bytes:
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                line = bytes(self._buffer[: end + 1])
                del self._buffer[: end + 1]
                return line
            if len(self._buffer) > _LONGEST_HEAD_BYTES:
                raise Unreachable(f"{self._address} sent a line without end")
            if not self._fill():
                raise Unreachable(f"{self._address} broke the connection off in the middle of an answer")

    def read_some(self, limit: int) -> bytes:
        """At most `limit` bytes, b"" at the end of the connection."""
        if self._buffer:
            data = bytes(self._buffer[:limit])
            del self._buffer[:limit]
            return data
        try:
            return self.socket.recv(min(limit, _RECEIVE_BYTES))
        except ConnectionResetError:
            return b""

    def _read_head(self) -> str:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                head = self._buffer[:end].decode("latin-1")
                del self._buffer[: end + 4]
                return head
            if len(self._buffer) > _LONGEST_HEAD_BYTES or not self._fill():
                raise Unreachable(f"{self._address} closed the connection without an answer")

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def _transmit(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Unreachable(f"{self._address} closed the connection") from error


class Response:
    """Status, headers (names in lower case), and the body, read once."""

    __slots__ = ("_is_bodyless", "connection", "headers", "status")

    def __init__(self, connection: Connection, status: int, headers: dict[str, str], is_bodyless: bool) -> None:
        self.connection = connection
        self._is_bodyless = is_bodyless
        self.status = status
        self.headers = headers

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow on the same socket, once the body has been read."""
        framed = self._is_bodyless or "content-length" in self.headers or self._is_chunked
        return framed and self.status != 101 and self.headers.get("connection", "").lower() != "close"

    @property
    def _is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, a piece at a time. Raises Unreachable when it is cut short."""
        if self._is_bodyless:
            return
        if self._is_chunked:
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._exactly(_number(self.headers["content-length"], 10))
        else:
            while piece := self.connection.read_some(_RECEIVE_BYTES):
                yield piece

    def _chunks(self) -> Iterator[bytes]:
        connection = self.connection
        while size := _number(connection.read_line().split(b";")[0].strip().decode("latin-1"), 16):
            yield from self._exactly(size)
            connection.read_line()
        while connection.read_line().strip():  # trailers
            pass

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            piece = self.connection.read_some(count)
            if not piece:
                raise Unreachable("the daemon broke the connection off in the middle of an answer")
            count -= len(piece)
            yield piece


def _number(text: str, base: int) -> int:
    if not text or set(text.lower()) - set("0123456789abcdef"[:base]):
        raise Unreachable(f"the daemon sent {text[:30]!r} where a length belongs")
    return int(text, base)
