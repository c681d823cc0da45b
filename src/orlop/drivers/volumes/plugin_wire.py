"""Calls to a plugin: HTTP over unix sockets or TCP, with a deadline on all of each call.

A plugin is somebody else's program. It may accept and say nothing, answer byte by byte, send more than there is memory:
so the deadline is that of the whole call and not of each read, and what is read has an end.

A connection is kept for the next call, for a moment: a plugin that was replaced or closed it meanwhile is seen before
anything is sent. One that turns out to be closed afterwards is tried again with a new connection only for a call that
changes nothing.

`post` waits for the answer. `send` does not, and goes out only on a connection that is there: for whoever has other
things to wait for as well.
"""

import select
import socket
import ssl
import threading
import time

import httptools

from orlop.drivers.volumes.plugin_address import Address

ACCEPT = "application/vnd.docker.plugins.v1.2+json"
LONGEST_ANSWER_BYTES = 8 * 1024 * 1024
_KEPT_SECONDS = 2.0
_KEPT_CONNECTIONS = 16
_CHUNK = 65536


class CannotConnect(Exception):
    """Nothing was sent: the call can be made again without harm."""


class NoAnswer(Exception):
    """It was sent, perhaps done, and there is no whole answer."""


class TooLate(NoAnswer):
    """... because the deadline passed."""


class _Left(NoAnswer):
    """... not a byte of one."""


class PluginWire:
    """Thread-safe: each call has a connection to itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[Address, float, socket.socket]] = []

    def post(self, address: Address, method: str, body: bytes, seconds: float, only_asks: bool) -> tuple[int, bytes]:
        """Status and body. Raises CannotConnect, NoAnswer."""
        deadline = time.monotonic() + seconds
        kept = self._take(address)
        if kept is not None:
            try:
                return self._post(kept, address, method, body, deadline, seconds)
            except _Left:
                if not only_asks:
                    raise
        try:
            connection = _connect(address, deadline)
        except (OSError, ValueError) as error:  # a path that is too long is an OSError, a NUL in it a ValueError
            raise CannotConnect(f"{address}: {getattr(error, 'strerror', None) or error}") from error
        return self._post(connection, address, method, body, deadline, seconds)

    def send(self, address: Address, method: str, body: bytes, seconds: float) -> "Sent | None":
        """None where there is no connection that could take it at once."""
        connection = self._take(address)
        if connection is None:
            return None
        request = _request(address, method, body)
        try:
            connection.settimeout(0)
            if connection.send(request) == len(request):
                return Sent(self, address, connection, seconds)
        except OSError:
            pass
        connection.close()  # of what went out, if anything did, nothing can be made
        return None

    def close(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        for _, _, connection in kept:
            connection.close()

    def _post(
        self, connection: socket.socket, address: Address, method: str, body: bytes, deadline: float, seconds: float
    ) -> tuple[int, bytes]:
        answer = _Answer()
        try:
            _exchange(connection, address, method, body, deadline, answer)
        except TimeoutError as error:
            connection.close()
            raise TooLate(f"no answer within {seconds:g} seconds") from error
        except (OSError, httptools.HttpParserError) as error:
            connection.close()
            kind = NoAnswer if answer.size else _Left
            raise kind(f"no whole answer: {str(error) or type(error).__name__}") from error
        except BaseException:
            connection.close()
            raise
        self.keep(address, connection) if answer.can_go_on else connection.close()
        return answer.status, b"".join(answer.pieces)

    def _take(self, address: Address) -> socket.socket | None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._kept:
                    return None
                kept_for, since, connection = self._kept.pop()
            # Whatever can be read from it, its end or words that nobody asked for, it is of no use any more.
            if kept_for == address and now - since < _KEPT_SECONDS and not _is_readable(connection):
                return connection
            connection.close()

    def keep(self, address: Address, connection: socket.socket) -> None:
        """For the next call: its answer was read to the end."""
        with self._lock:
            if len(self._kept) < _KEPT_CONNECTIONS:
                self._kept.append((address, time.monotonic(), connection))
                return
        connection.close()


class Sent:
    """A call that nobody waits for. Not thread-safe."""

    def __init__(self, wire: PluginWire, address: Address, connection: socket.socket, seconds: float) -> None:
        self._wire, self._address, self._connection = wire, address, connection
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        self._answer = _Answer()
        self._error: Exception | None = None

    @property
    def seconds(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def fileno(self) -> int:
        return self._connection.fileno()

    def look(self) -> bool:
        """Whether there is an answer, or will be none. Never blocks."""
        try:
            while not self._answer.is_whole:
                data = self._connection.recv(_CHUNK)
                self._answer.feed(data) if data else self._answer.end()
        except BlockingIOError:
            if self.seconds:
                return False
            self._error = TooLate(f"no answer within {self._seconds:g} seconds")
        except (OSError, httptools.HttpParserError) as error:
            self._error = error
        return True

    def answer(self) -> tuple[int, bytes]:
        """After `look`, once. Raises NoAnswer; CannotConnect where not a byte came, and it can be asked again."""
        if self._error is None and self._answer.can_go_on:
            self._wire.keep(self._address, self._connection)
        else:
            self._connection.close()
        if isinstance(self._error, TooLate):
            raise self._error
        if self._error is not None:
            kind = NoAnswer if self._answer.size else CannotConnect
            raise kind(f"no whole answer: {str(self._error) or type(self._error).__name__}") from self._error
        return self._answer.status, b"".join(self._answer.pieces)


class _Answer:
    """What httptools tells of one response."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.pieces: list[bytes] = []
        self.size = 0
        self.is_whole = False
        self.is_measured = False  # it says itself where it ends
        self.status = 0
        self.can_go_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.is_measured |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status < 200:  # an interim one: the answer comes after it
            self.pieces.clear()
            return
        self.is_whole = True
        self.can_go_on = self.is_measured and self.parser.should_keep_alive()

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > LONGEST_ANSWER_BYTES:
            raise OSError(f"it is longer than {LONGEST_ANSWER_BYTES >> 20} MiB")
        self.parser.feed_data(data)

    def end(self) -> None:
        """The connection ended. That is the end of an answer only where it does not say another."""
        if not self.status:
            raise OSError("the connection was closed")
        if self.is_measured:
            raise OSError("it ended too early")
        self.is_whole = True


def _is_readable(connection: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


def _connect(address: Address, deadline: float) -> socket.socket:
    if address.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(address.socket)
        except BaseException:
            connection.close()
            raise
        return connection
    connection = socket.create_connection((address.host, address.port), _left(deadline))
    if address.tls is None:
        return connection
    try:
        connection.settimeout(_left(deadline))
        return _context(address).wrap_socket(connection, server_hostname=address.host)
    except BaseException:
        connection.close()
        raise


def _context(address: Address) -> ssl.SSLContext:
    assert address.tls is not None
    tls = address.tls
    context = ssl.create_default_context(cafile=tls.ca_file or None)
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file or None)
    return context


def _request(address: Address, method: str, body: bytes) -> bytes:
    host = "plugin.moby.localhost" if address.socket else f"{address.host}:{address.port}"
    head = (
        f"POST /{method} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: orlop\r\nAccept: {ACCEPT}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _exchange(
    connection: socket.socket, address: Address, method: str, body: bytes, deadline: float, answer: _Answer
) -> None:
    connection.settimeout(_left(deadline))
    connection.sendall(_request(address, method, body))
    while not answer.is_whole:
        connection.settimeout(_left(deadline))
        data = connection.recv(_CHUNK)
        answer.feed(data) if data else answer.end()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
