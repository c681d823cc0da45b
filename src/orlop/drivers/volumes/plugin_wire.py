"""One call to a plugin: HTTP over a unix socket or TCP, with a deadline on all of it.

A plugin is somebody else's program. It may accept and say nothing, answer byte by byte, send more than there is memory:
so the deadline is that of the whole call and not of each read, and what is read has an end. Each call has a connection
of its own: nothing is ever sent into one that a plugin has left meanwhile.
"""

import http.client
import io
import socket
import ssl
import time

from orlop.drivers.volumes.plugin_address import Address

ACCEPT = "application/vnd.docker.plugins.v1.2+json"
LONGEST_ANSWER_BYTES = 8 * 1024 * 1024


class CannotConnect(Exception):
    """Nothing was sent: the call can be made again without harm."""


class NoAnswer(Exception):
    """It was sent, perhaps done, and there is no whole answer."""


class TooLate(NoAnswer):
    """... because the deadline passed."""


def post(address: Address, method: str, body: bytes, seconds: float) -> tuple[int, bytes]:
    """Status and body. Raises CannotConnect, NoAnswer."""
    deadline = time.monotonic() + seconds
    try:
        connection = _connect(address, deadline)
    except (OSError, ValueError) as error:  # a path that is too long is an OSError, a NUL in it a ValueError
        raise CannotConnect(f"{address}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _exchange(connection, address, method, body, deadline)
    except TimeoutError as error:
        raise TooLate(f"no answer within {seconds:g} seconds") from error
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"no whole answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


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


def _exchange(
    connection: socket.socket, address: Address, method: str, body: bytes, deadline: float
) -> tuple[int, bytes]:
    host = "plugin.moby.localhost" if address.socket else f"{address.host}:{address.port}"
    head = (
        f"POST /{method} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: orlop\r\nAccept: {ACCEPT}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection.settimeout(_left(deadline))
    connection.sendall(head.encode() + body)
    answer = http.client.HTTPResponse(_Timed(connection, deadline), method="POST")  # type: ignore[arg-type]
    try:
        answer.begin()
        pieces, size = [], 0
        while piece := answer.read1(65536):
            size += len(piece)
            if size > LONGEST_ANSWER_BYTES:
                raise http.client.HTTPException(f"it is longer than {LONGEST_ANSWER_BYTES >> 20} MiB")
            pieces.append(piece)
        if answer.length:
            raise http.client.HTTPException("it ended too early")
        return answer.status, b"".join(pieces)
    finally:
        answer.close()


class _Timed:
    """As much of a socket as http.client wants of one, which ends at the deadline however slowly bytes come."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedStream(self._connection, self._deadline))


class _TimedStream(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
