"""Connections to etcd: one member is asked as long as it answers, then another.

Every call has a deadline for all its attempts, and each attempt a shorter one, so that a member that is cut off without
a word leaves time for the others. A round over all members is made once: whether to ask again is the caller's to judge.

A request that may have been taken before the connection was lost is sent to another member only where it may happen
twice; otherwise `Uncertain` says that nobody knows.

A member that was given up on is left by its streams as well: its kernel may keep a connection open that nothing will
ever come through again.
"""

import http.client
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from orlop.cluster.address import Credentials, Endpoint
from orlop.cluster.etcd_wire import TokenAnswer, decode, encode, parse_fault
from orlop.errors import Forbidden, OrlopError, Unavailable

A = TypeVar("A")

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 5.0
_HINT = "Look at it with: etcdctl endpoint health --cluster"
_SHORTEST_ATTEMPT_SECONDS = 1.0
_MOST_IDLE = 8

# Codes of gRPC
_DEADLINE_EXCEEDED, _PERMISSION_DENIED, _UNAVAILABLE, _UNAUTHENTICATED = 4, 7, 14, 16
_TEMPORARY = {_DEADLINE_EXCEEDED, _UNAVAILABLE}
_NOTHING_WAS_TAKEN = ("no leader", "not capable", "too many requests")
_TOKEN_IS_OLD = ("invalid auth token", "auth store is old")
_NO_USER = "user name is empty"
_NO_AUTHENTICATION = "authentication is not enabled"


PATIENCE_SECONDS = 3.0  # with what somebody waits for: three members are asked for a second each


class NoAnswer(Unavailable):
    """Etcd is away, as far as can be told."""


class Uncertain(NoAnswer):
    """The answer was lost: it may have happened, and may happen still."""


class EtcdFault(OrlopError):
    """etcd answered that it will not: `code` is gRPC's."""

    status = 503

    def __init__(self, code: int, why: str) -> None:
        super().__init__("cluster", why)
        self.code = code


class _NotSent(Exception):
    """Nothing reached this member."""


class _Lost(Exception):
    """Sent, and no answer."""


class Link:
    """Thread-safe."""

    def __init__(self, endpoints: Sequence[Endpoint], credentials: Credentials) -> None:
        self._endpoints = list(endpoints)
        self._credentials = credentials
        self._tls = _tls(credentials) if credentials.is_tls else None
        self._lock = threading.Lock()
        self._idle: list[tuple[Endpoint, http.client.HTTPConnection]] = []
        self._streams: set[Stream] = set()
        self._login = threading.Lock()
        self._token = ""
        self._requests = 0
        self._is_closed = False

    @property
    def endpoint(self) -> Endpoint:
        """Who is asked first."""
        return self._endpoints[0]

    @property
    def requests(self) -> int:
        """How many were sent, for measurements."""
        return self._requests

    def call(self, path: str, body: object, *, is_repeatable: bool, seconds: float = DEADLINE_SECONDS) -> bytes:
        """Raises Unavailable (Uncertain where it may have happened), Forbidden, EtcdFault."""

        def ask(endpoint: Endpoint, patience: float) -> bytes:
            return self._ask(endpoint, path, encode(body), patience)

        return self._round(ask, is_repeatable, seconds)

    def stream(self, path: str, body: object, seconds: float = DEADLINE_SECONDS) -> "Stream":
        """An answer that goes on. Raises as `call`."""

        def ask(endpoint: Endpoint, patience: float) -> Stream:
            return self._open(endpoint, path, encode(body), patience)

        return self._round(ask, True, seconds)

    def close(self) -> None:
        """Whoever still reads a stream gets its end."""
        with self._lock:
            self._is_closed = True
            connections, streams = [connection for _, connection in self._idle], list(self._streams)
            self._idle.clear()
        for stream in streams:
            stream.close()
        for connection in connections:
            connection.close()

    # One round over the members

    def _round(self, ask: Callable[[Endpoint, float], A], is_repeatable: bool, seconds: float) -> A:
        deadline = time.monotonic() + seconds
        endpoints = tuple(self._endpoints)
        patience = max(_SHORTEST_ATTEMPT_SECONDS, seconds / len(endpoints))
        troubles: list[str] = []
        for endpoint in endpoints:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return self._logged_in(ask, endpoint, min(left, patience))
            except _NotSent as error:
                troubles.append(f"{endpoint}: {error}")
            except _Lost as error:
                troubles.append(f"{endpoint}: {error}")
                if not is_repeatable:
                    self._leave(endpoint)
                    raise Uncertain("cluster", f"etcd's answer was lost ({troubles[-1]})", _HINT) from error
            self._leave(endpoint)
        raise NoAnswer("cluster", f"etcd does not answer ({'; '.join(troubles)})", _HINT)

    def _leave(self, endpoint: Endpoint) -> None:
        """Others are asked first from now on."""
        with self._lock:
            self._endpoints.remove(endpoint)
            self._endpoints.append(endpoint)
            left = [stream for stream in self._streams if stream.endpoint == endpoint]
            gone = [connection for of, connection in self._idle if of == endpoint]
            self._idle = [(of, connection) for of, connection in self._idle if of != endpoint]
        for stream in left:
            stream.close()
        for connection in gone:
            connection.close()

    # Who we are

    def _logged_in(self, ask: Callable[[Endpoint, float], A], endpoint: Endpoint, patience: float) -> A:
        if not self._credentials.user:
            return ask(endpoint, patience)
        with self._login:
            token = self._token = self._token or self._new_token(endpoint, patience)
        try:
            return ask(endpoint, patience)
        except EtcdFault as error:
            if error.code != _UNAUTHENTICATED and not any(text in error.why for text in _TOKEN_IS_OLD):
                raise
        with self._login:
            if self._token == token:
                self._token = self._new_token(endpoint, patience)
        return ask(endpoint, patience)

    def _new_token(self, endpoint: Endpoint, patience: float) -> str:
        credentials = self._credentials
        self._token = ""
        try:
            body = encode({"name": credentials.user, "password": credentials.password})
            return decode(TokenAnswer, self._ask(endpoint, "/v3/auth/authenticate", body, patience)).token
        except EtcdFault as error:
            if _NO_AUTHENTICATION in error.why:
                log.warning("etcd at %s asks nobody who they are: user %s is not needed", endpoint, credentials.user)
                return ""
            raise Forbidden(f"cluster: user {credentials.user}", error.why, "See cluster-password-file") from error

    # One member

    def _ask(self, endpoint: Endpoint, path: str, body: bytes, patience: float) -> bytes:
        connection = self._connect(endpoint, patience)
        try:
            response = self._request(connection, path, body)
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _Lost(_words(error)) from error
        if response.status != 200:
            connection.close()
            raise _fault(response.status, data)
        with self._lock:
            if len(self._idle) < _MOST_IDLE and endpoint in self._endpoints and not response.will_close:
                self._idle.append((endpoint, connection))
                return data
        connection.close()
        return data

    def _open(self, endpoint: Endpoint, path: str, body: bytes, patience: float) -> "Stream":
        connection = self._connect(endpoint, patience)
        try:
            response = self._request(connection, path, body)
            failed = response.read() if response.status != 200 else b""
            assert connection.sock is not None
            _notice_its_death(connection.sock)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _Lost(_words(error)) from error
        if failed:
            connection.close()
            raise _fault(response.status, failed)
        stream = Stream(endpoint, connection, response, self._forget)
        with self._lock:
            self._streams.add(stream)
            is_closed = self._is_closed
        if is_closed:  # meanwhile
            stream.release()
            raise _NotSent("this end is closed")
        return stream

    def _forget(self, stream: "Stream") -> None:
        with self._lock:
            self._streams.discard(stream)

    def _request(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> http.client.HTTPResponse:
        self._requests += 1
        headers = {"Content-Type": "application/json", "Grpc-Metadata-Hasleader": "true"}
        if self._token:
            headers["Authorization"] = self._token
        connection.request("POST", path, body, headers)
        return connection.getresponse()

    def _connect(self, endpoint: Endpoint, patience: float) -> http.client.HTTPConnection:
        while (connection := self._take_idle(endpoint)) is not None:
            assert connection.sock is not None
            if not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(patience)
                return connection
            connection.close()  # nothing is due: what can be read is its end
        if self._tls is None:
            connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=patience)
        else:
            connection = http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=patience, context=self._tls)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise _NotSent(_words(error)) from error
        return connection

    def _take_idle(self, endpoint: Endpoint) -> http.client.HTTPConnection | None:
        with self._lock:
            for place, (of, connection) in enumerate(self._idle):
                if of == endpoint:
                    del self._idle[place]
                    return connection
        return None


class Stream:
    """Lines of an answer that goes on. `lines` in one thread, `close` in any."""

    def __init__(
        self,
        endpoint: Endpoint,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        forget: Callable[["Stream"], None],
    ) -> None:
        self.endpoint = endpoint
        self._connection = connection
        self._response = response
        self._forget = forget
        assert connection.sock is not None or response.fp is not None
        self._socket = connection.sock

    def line(self, seconds: float | None) -> bytes:
        """The next one; b"" at its end. Raises Unavailable when the connection is lost, or nothing comes in time."""
        try:
            if self._socket is not None:
                self._socket.settimeout(seconds)
            return self._response.readline()
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise Unavailable("cluster", f"the stream from etcd at {self.endpoint} broke: {_words(error)}") from error

    def close(self) -> None:
        self._forget(self)
        try:
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already

    def release(self) -> None:
        """By the thread that reads it, when it reads no more."""
        self.close()
        self._response.close()
        self._connection.close()


def _tls(credentials: Credentials) -> ssl.SSLContext:
    """Raises OSError, ssl.SSLError (which is one)."""
    context = ssl.create_default_context(cafile=str(credentials.ca) if credentials.ca else None)
    if credentials.certificate:
        context.load_cert_chain(credentials.certificate, credentials.key)
    return context


def _notice_its_death(connection: socket.socket) -> None:
    """A peer whose host is gone says nothing more: the kernel asks it every two seconds."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 4)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _fault(status: int, data: bytes) -> Exception:
    """What a refusal means for whoever asked."""
    try:
        fault = parse_fault(data)
    except msgspec.DecodeError:
        return _Lost(f"HTTP {status}: {data[:100].decode(errors='replace')!r}")
    why = (fault.message or fault.error).removeprefix("etcdserver: ")
    if fault.code in _TEMPORARY:
        return _NotSent(why) if any(text in why for text in _NOTHING_WAS_TAKEN) else _Lost(why)
    if _NO_USER in why:
        return Forbidden("cluster", "etcd wants a user and a password", "See cluster-user and cluster-password-file")
    if fault.code == _PERMISSION_DENIED:
        return Forbidden("cluster", f"etcd says: {why}", "The user needs to read and write below the cluster's prefix")
    return EtcdFault(fault.code, why)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
