"""The smallest HTTP client that can measure a Docker API: one kept connection, no parsing beyond what framing needs, so
that what is measured is the daemon."""

import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
DEADLINE_SECONDS = 60.0  # without a byte; a daemon that does not answer costs a row of the table, not the rest of it


# By the kernel: Python's own way costs a call more for each piece.
_PATIENCE = struct.pack("ll", int(DEADLINE_SECONDS), 0)


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
    connection.connect(str(path))
    return connection


class Refused(Exception):
    """The daemon answered with an error, or not in HTTP."""


class Client:
    """One connection, reopened when the daemon closed it. Calls raise Refused for a status of 400 or more."""

    def __init__(self, socket_path: Path, api: str = "/v1.41") -> None:
        self._path = socket_path
        self._api = api
        self._socket: socket.socket | None = None
        self._buffer = b""

    def call(self, method: str, target: str, body: Any = None) -> Any:
        """The decoded answer; `body` is sent as JSON."""
        payload = b"" if body is None else json.dumps(body).encode()
        with self._whole():
            answer = b"".join(self._exchange(method, target, payload, "application/json"))
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer

    def upload(self, method: str, target: str, path: Path) -> bytes:
        """Send a file as the body."""
        with self._whole(), path.open("rb") as file:
            connection = self._connected()
            connection.sendall(self._head(method, target, path.stat().st_size, "application/x-tar"))
            connection.sendfile(file)
            return b"".join(self._answer(method))

    def download(self, target: str) -> int:
        """How many bytes came."""
        with self._whole():
            return sum(map(len, self._exchange("GET", target, b"", "")))

    def hijack(self, target: str, body: Any = None) -> tuple[socket.socket, bytes]:
        """Take the connection over as attach and exec do: a socket of its own and what already came on it."""
        payload = b"" if body is None else json.dumps(body).encode()
        connection = self._connect()
        head = self._head("POST", target, len(payload), "application/json", "Connection: Upgrade\r\nUpgrade: tcp\r\n")
        connection.sendall(head + payload)
        said = b""
        while b"\r\n\r\n" not in said:
            chunk = connection.recv(CHUNK)
            if not chunk:
                raise Refused(f"{target}: {said!r}")
            said += chunk
        answer, _, rest = said.partition(b"\r\n\r\n")
        if int(answer.split(b" ", 2)[1]) >= 300:
            raise Refused(f"{target}: {said!r}")
        return connection, rest

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self._buffer = None, b""

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """An answer that was not read to its end is not taken for the next one's."""
        try:
            yield
        except Refused:
            raise
        except BlockingIOError as error:
            self.close()
            raise TimeoutError(f"the daemon did not answer within {DEADLINE_SECONDS:g} s") from error
        except BaseException:
            self.close()
            raise

    def _exchange(self, method: str, target: str, payload: bytes, content_type: str) -> Iterator[bytes]:
        request = self._head(method, target, len(payload), content_type) + payload
        self._connected().sendall(request)
        return self._answer(method)

    def _head(self, method: str, target: str, length: int, content_type: str, more: str = "") -> bytes:
        kind = f"Content-Type: {content_type}\r\n" if length else ""
        return (
            f"{method} {self._api}{target} HTTP/1.1\r\nHost: d\r\n{kind}Content-Length: {length}\r\n{more}\r\n".encode()
        )

    def _connect(self) -> socket.socket:
        return connected(self._path)

    def _connected(self) -> socket.socket:
        if self._socket and select.select([self._socket], [], [], 0)[0]:
            self.close()  # idle and readable: the daemon hung up
        if not self._socket:
            self._socket = self._connect()
        return self._socket

    def _more(self) -> None:
        assert self._socket
        chunk = self._socket.recv(CHUNK)
        if not chunk:
            self.close()
            raise Refused("the daemon hung up in the middle of an answer")
        self._buffer += chunk

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _take(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._buffer:
                self._more()
            piece, self._buffer = self._buffer[:count], self._buffer[count:]
            count -= len(piece)
            yield piece

    def _answer(self, method: str) -> Iterator[bytes]:
        status = int(self._line().split(b" ", 2)[1])
        if status == 100:
            self._line()
            status = int(self._line().split(b" ", 2)[1])
        headers: dict[bytes, bytes] = {}
        while line := self._line():
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip().lower()
        body = self._body(status, headers)
        if status >= 400:
            raise Refused(f"{method} answered {status}: {b''.join(body).decode(errors='replace')}")
        yield from body
        if headers.get(b"connection") == b"close":
            self.close()

    def _body(self, status: int, headers: dict[bytes, bytes]) -> Iterator[bytes]:
        if status in (204, 304):
            return
        if headers.get(b"transfer-encoding") == b"chunked":
            while size := int(self._line().split(b";")[0], 16):
                yield from self._take(size)
                self._line()
            self._line()
        else:
            yield from self._take(int(headers.get(b"content-length", b"0")))


def calls_per_second(socket_path: Path, target: str, clients: int, seconds: float) -> float:
    """GET the same thing over many connections at once, each asking again as soon as it is answered."""
    request = f"GET /v1.41{target} HTTP/1.1\r\nHost: d\r\n\r\n".encode()
    poll = select.epoll()
    connections: dict[int, socket.socket] = {}
    unread: dict[int, bytes] = {}
    for _ in range(clients):
        connection = connected(socket_path)
        connections[connection.fileno()], unread[connection.fileno()] = connection, b""
        poll.register(connection, select.EPOLLIN)
        connection.sendall(request)
    answered = 0
    start = time.perf_counter()
    end = start + seconds
    while time.perf_counter() < end:
        for number, _ in poll.poll(1):
            said = unread[number] + os.read(number, 65536)
            if is_complete(said):
                answered += 1
                said = b""
                os.write(number, request)
            unread[number] = said
    took = time.perf_counter() - start
    for connection in connections.values():
        connection.close()
    return answered / took


def is_complete(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    at = head.lower().find(b"content-length:")
    if at < 0:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])


def timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start
