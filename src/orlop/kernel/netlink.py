"""Netlink (RFC 3549): requests to the kernel, sent in batches, each one acknowledged.

A batch is one send: the kernel works through its messages in order and answers each. The encoding is our own because
it is small: a library that knows every message of every family costs the daemon 24 MB and 140 ms of imports, and
milliseconds for each request that passes its higher layers.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence

from orlop.model.value import dataclass

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_DUMP_INTR = 0x10
_NLM_F_ACK_TLVS = 0x200
_NLM_F_CAPPED = 0x100
_NLMSGERR_ATTR_MSG = 1

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NESTED = 0x8000
_RECEIVE_BYTES = 1 << 18
_TRIES = 16
_ANSWER_SECONDS = 30  # the kernel answers at once; only a defect of ours makes it wait


@dataclass(frozen=True, slots=True)
class Request:
    about: str  # what it does to what, for the error
    type: int
    payload: bytes
    flags: int = 0
    accepted: tuple[int, ...] = ()  # error numbers that mean "it is so already"


@dataclass(frozen=True, slots=True)
class Answer:
    type: int
    payload: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """A type-length-value, padded to four bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def read_attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    return found


class RouteSocket:
    """A socket of the routing family, bound for life to the network namespace of the thread that opened it. For one
    thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            self._socket.settimeout(_ANSWER_SECONDS)
            self._socket.bind((0, 0))
            # Errors without the request repeated, but with the kernel's own words where it has some.
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def batch(self, *requests: Request) -> None:
        """Do all, in order. The kernel goes on after one that fails; the first failure is raised as OSError."""
        if requests:
            list(self._exchange(requests, NLM_F_ACK))

    def ask(self, request: Request) -> Answer:
        """The one object that the request names."""
        return next(iter(list(self._exchange([request], NLM_F_ACK))))

    def dump(self, request: Request) -> list[Answer]:
        """All objects of a kind."""
        for _ in range(_TRIES):
            try:
                return list(self._exchange([request], NLM_F_DUMP))
            except InterruptedError:  # the table changed underneath; what came is a mixture
                continue
        raise OSError(4, f"{request.about}: the kernel's table would not hold still")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "RouteSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, requests: Sequence[Request], flags: int) -> Iterator[Answer]:
        waiting: dict[int, Request] = {}
        data = bytearray()
        for request in requests:
            self._sequence += 1
            waiting[self._sequence] = request
            length = _HEADER.size + len(request.payload)
            data += _HEADER.pack(length, request.type, NLM_F_REQUEST | flags | request.flags, self._sequence, 0)
            data += request.payload + bytes(-length % 4)
        self._socket.sendto(data, (0, 0))
        failure: OSError | None = None
        interrupted = False
        while waiting:
            for kind, message_flags, sequence, payload in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence not in waiting:
                    continue
                interrupted = interrupted or bool(flags & NLM_F_DUMP and message_flags & _NLM_F_DUMP_INTR)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    refused = _failure(waiting.pop(sequence), message_flags, payload)
                    failure = failure or refused
                else:
                    yield Answer(kind, payload)
        if failure:
            raise failure
        if interrupted:
            raise InterruptedError


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += length + (-length % 4)


def _failure(request: Request, flags: int, payload: bytes) -> OSError | None:
    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if code <= 0 or code in request.accepted:
        return None
    words = b""
    if flags & _NLM_F_ACK_TLVS and flags & _NLM_F_CAPPED:
        # After the error number stands the header of the failed request, then the attributes.
        words = read_attributes(payload, 4 + _HEADER.size).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
    reason = os.strerror(code) + (f" ({words.decode(errors='replace')})" if words else "")
    return OSError(code, f"{request.about}: {reason}")
