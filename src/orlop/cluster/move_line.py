"""The line between two nodes while a volume moves: TLS, with a certificate on either side that was made for this one
move and is known to the other side from etcd. Nobody else gets through, whoever signed for them; no key ever leaves its
host, or touches a disk.

    listen -> Door, an address and a port that nobody chose       dial -> Line
              accept -> Line, from nobody but the expected peer

A Line is one end of a pair of sockets that somebody reads and writes (the mirror, perhaps in another process); a thread
carries the bytes. On the wire they go in pieces with their length in front. A piece of length 0 only says that its
sender is well: a peer that stands still, or a cable that was pulled, is noticed by the silence, however long the other
end has nothing to tell. One of length 0xFFFFFFFE says besides that the work on its side gets on, though there is
nothing to tell of it yet: a large file is read from a slow disk.
"""

import datetime
import logging
import os
import secrets
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import field

from orlop.cluster.address import Endpoint
from orlop.errors import HostFailure, OrlopError, Unavailable
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

SILENCE_SECONDS = 20.0  # then the peer counts as gone
_SIGN_SECONDS = 4.0
_HANDSHAKE_SECONDS = 5.0
_DIAL_SECONDS = 10.0
_PIECE_BYTES = 1 << 18
_HELD_BYTES = 1 << 20  # in either direction
_LENGTH = struct.Struct(">I")
_END = 0xFFFFFFFF  # instead of a length: no more comes
_GETS_ON = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Identity:
    certificate: str  # PEM
    _key: bytes = field(repr=False)

    def context(self, purpose: int, peer_certificate: str) -> ssl.SSLContext:
        """Which lets through one peer."""
        context = ssl.SSLContext(purpose)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=peer_certificate)
        except (ssl.SSLError, ValueError) as error:
            raise HostFailure("the other node's certificate", f"it makes no sense: {error}") from error
        # ssl reads a key from a file only: one that is in memory, and has no name.
        fd = os.memfd_create("key", os.MFD_CLOEXEC)
        try:
            os.write(fd, self._key + self.certificate.encode())
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return context


def make_identity(name: str) -> Identity:
    """A key, and a certificate that it vouches for itself with. It is used once and soon, so it does not say until
    when it holds: clocks of hosts may differ by any amount."""
    from cryptography import x509  # only who moves volumes waits for it
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1))
        .not_valid_after(datetime.datetime(2200, 1, 1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(certificate.public_bytes(serialization.Encoding.PEM).decode(), private)


def own_address(endpoints: Iterable[Endpoint]) -> str:
    """The address that this host's way to etcd begins at; one that others can reach, where there is one."""
    found = ""
    for endpoint in endpoints:
        with suppress(OSError):
            kind, protocol, number, _, place = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)[
                0
            ]
            with socket.socket(kind, protocol, number) as probe:
                probe.connect(place)  # of a datagram socket: nothing is sent
                address: str = probe.getsockname()[0]
            if not address.startswith("127.") and address != "::1":
                return address
            found = found or address
    if not found:
        why = "no way leads to etcd, so it is not known at which address other nodes reach this one"
        raise Unavailable("listening for a volume", why, "Say which: --cluster-address ADDRESS")
    return found


class Door:
    """Open from the beginning, for one peer that comes once."""

    def __init__(self, address: str, identity: Identity, peer_certificate: str) -> None:
        self._context = identity.context(ssl.PROTOCOL_TLS_SERVER, peer_certificate)
        self._context.num_tickets = 0
        self._peer = ssl.PEM_cert_to_DER_cert(peer_certificate)
        try:
            kind = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((address, 0), family=kind, backlog=4)
        except OSError as error:
            hint = "Another one: --cluster-address ADDRESS"
            raise HostFailure(f"listening at {address}", f"{error.strerror or error}", hint) from error
        self.address = address
        self.port: int = self._socket.getsockname()[1]

    def accept(self, seconds: float) -> "Line":
        """Strangers are turned away. Raises Unavailable when the peer does not come, or the door was closed."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._socket.settimeout(left)
                connection, place = self._socket.accept()
            except TimeoutError:
                break
            except OSError as error:
                raise Unavailable("the other node", f"nobody waits for it any more: {error.strerror}") from error
            try:
                line = _line(self._context, connection, self._peer, is_server=True)
            except (OSError, OrlopError) as error:
                log.warning("%s was turned away: it is not who is expected: %s", place[0], error)
                continue
            self.close()
            return line
        raise Unavailable("the other node", f"it did not connect within {seconds:g} s")

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # or who accepts would go on waiting
        self._socket.close()


def dial(address: str, port: int, identity: Identity, peer_certificate: str) -> "Line":
    """Raises Unavailable."""
    subject = f"the other node at {address} port {port}"
    context = identity.context(ssl.PROTOCOL_TLS_CLIENT, peer_certificate)
    try:
        connection = socket.create_connection((address, port), _DIAL_SECONDS)
    except OSError as error:
        hint = "Is there a firewall between them? Each node listens at the address it reaches etcd from, or at its "
        why = f"it cannot be reached: {error.strerror or error}"
        raise Unavailable(subject, why, f"{hint}--cluster-address") from error
    try:
        return _line(context, connection, ssl.PEM_cert_to_DER_cert(peer_certificate), is_server=False)
    except OSError as error:
        raise Unavailable(subject, f"it is not who it should be, or broke off: {error}") from error


def _line(context: ssl.SSLContext, connection: socket.socket, peer: bytes, is_server: bool) -> "Line":
    """Raises OSError (ssl's errors are such), HostFailure for another peer."""
    try:
        connection.settimeout(_HANDSHAKE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapped = context.wrap_socket(connection, server_side=is_server)
    except BaseException:
        connection.close()
        raise
    if not secrets.compare_digest(wrapped.getpeercert(binary_form=True) or b"", peer):
        wrapped.close()
        raise HostFailure("the other node", "it has another certificate than the one that was agreed on")
    return Line(wrapped)


class Line:
    """`stream` is for who has something to say; `failure` says why it broke, "" while it has not."""

    def __init__(self, wire: ssl.SSLSocket, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._wire = wire
        self._silence_seconds = silence_seconds
        self.stream, self._inner = socket.socketpair()
        for each in (self._wire, self._inner):
            each.setblocking(False)
        self._out = bytearray()  # to the wire, as it goes there
        self._raw = bytearray()  # from the wire, in pieces
        self._in = bytearray()  # to the inner end
        self._left = 0  # bytes of the piece that is just coming
        self._said_all = self._heard_all = self._passed_all = False
        self._heard_at = self._spoke_at = time.monotonic()
        self.failure = ""
        self.carried_bytes = 0
        self._told_of: Callable[[], str] = lambda: ""
        self._told_last = ""
        self._heard_of = 0  # how often the other side said that it gets on
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line to a node", daemon=True)
        self._thread.start()

    def vouch(self, counted: Callable[[], str]) -> None:
        self._told_of = counted

    def counted(self) -> str:
        return f"{self.carried_bytes} {self._heard_of}"

    def close(self) -> None:
        """What was said so far still goes, for a moment."""
        with suppress(OSError):
            self.stream.close()
        self._thread.join(2)
        self._closed.set()
        with suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def cut(self) -> None:
        """At once: whoever reads or writes gets an error."""
        self._closed.set()
        with suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            while not self._closed.is_set() and not (self._is_done()):
                self._round()
        except (OSError, ValueError) as error:
            self.failure = f"{error.strerror if isinstance(error, OSError) and error.strerror else error}"
        finally:
            for each in (self._inner, self._wire):
                with suppress(OSError):
                    each.close()

    def _is_done(self) -> bool:
        return self._said_all and not self._out and self._passed_all

    def _round(self) -> None:
        now = time.monotonic()
        hears = not self._heard_all and len(self._in) < _HELD_BYTES
        if not hears:
            self._heard_at = now  # nobody listens: that says nothing about the peer
        if now - self._heard_at > self._silence_seconds:
            raise TimeoutError(f"it gave no sign for {self._silence_seconds:g} s")
        if not self._out and not self._said_all and now - self._spoke_at > _SIGN_SECONDS:
            self._out += _LENGTH.pack(self._sign())
        wanted = {
            self._wire.fileno(): (select.POLLIN if hears else 0) | (select.POLLOUT if self._out else 0),
            self._inner.fileno(): (select.POLLIN if not self._said_all and len(self._out) < _HELD_BYTES else 0)
            | (select.POLLOUT if self._in else 0),
        }
        poller = select.poll()
        for fd, events in wanted.items():
            if events:
                poller.register(fd, events)
        poller.poll(0 if hears and self._wire.pending() else 500)
        if self._closed.is_set():
            return
        if hears:
            self._hear()
        self._pass_on()
        if not self._said_all and len(self._out) < _HELD_BYTES:
            self._take()
        self._say()

    def _sign(self) -> int:
        before, self._told_last = self._told_last, self._told_of()
        return _GETS_ON if self._told_last != before else 0

    def _hear(self) -> None:
        try:
            data = self._wire.recv(_PIECE_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not data:
            raise ConnectionResetError(0, "it broke off")
        self._heard_at = time.monotonic()
        self._raw += data
        while self._raw:
            if self._left:
                piece = self._raw[: self._left]
                del self._raw[: len(piece)]
                self._left -= len(piece)
                self._in += piece
                self.carried_bytes += len(piece)
                continue
            if len(self._raw) < _LENGTH.size:
                return
            (length,) = _LENGTH.unpack_from(self._raw)
            del self._raw[: _LENGTH.size]
            if length == _END:
                self._heard_all = True
                return
            if length == _GETS_ON:
                self._heard_of += 1
                continue
            if length > _PIECE_BYTES:
                raise ValueError(f"it sends a piece of {length} bytes, which nobody of ours does")
            self._left = length

    def _pass_on(self) -> None:
        if self._in:
            with suppress(BlockingIOError):
                sent = self._inner.send(memoryview(self._in)[:_PIECE_BYTES])
                del self._in[:sent]
        if self._heard_all and not self._in and not self._passed_all:
            self._passed_all = True
            with suppress(OSError):
                self._inner.shutdown(socket.SHUT_WR)

    def _take(self) -> None:
        try:
            data = self._inner.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._out += _LENGTH.pack(len(data)) + data
            self.carried_bytes += len(data)
        else:
            self._said_all = True
            self._out += _LENGTH.pack(_END)

    def _say(self) -> None:
        while self._out:
            try:
                sent = self._wire.send(memoryview(self._out)[:_PIECE_BYTES])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del self._out[:sent]
            self._spoke_at = time.monotonic()
