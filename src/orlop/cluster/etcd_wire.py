"""JSON as etcd's gateway (grpc-gateway over v3) spells it: keys and values in base64, 64-bit numbers as strings, what
is zero left out."""

from typing import Any, TypeVar

import msgspec


class Header(msgspec.Struct):
    revision: int = 0


class KeyValue(msgspec.Struct):
    key: bytes = b""
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class RangeAnswer(msgspec.Struct):
    header: Header = msgspec.field(default_factory=Header)
    kvs: list[KeyValue] = []
    more: bool = False


class _Part(msgspec.Struct):
    response_range: RangeAnswer | None = None


class TransactionAnswer(msgspec.Struct):
    header: Header = msgspec.field(default_factory=Header)
    succeeded: bool = False
    responses: list[_Part] = []


class LeaseAnswer(msgspec.Struct):
    header: Header = msgspec.field(default_factory=Header)
    TTL: int = 0


class LeaseStream(msgspec.Struct):
    result: LeaseAnswer = msgspec.field(default_factory=LeaseAnswer)


class TokenAnswer(msgspec.Struct):
    token: str = ""


class WatchEvent(msgspec.Struct):
    type: str = "PUT"
    kv: KeyValue = msgspec.field(default_factory=KeyValue)


class WatchAnswer(msgspec.Struct):
    header: Header = msgspec.field(default_factory=Header)
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[WatchEvent] = []


class WatchStream(msgspec.Struct):
    result: WatchAnswer | None = None
    error: dict[str, Any] | None = None


class Fault(msgspec.Struct):
    """`code` is gRPC's."""

    error: str = ""
    message: str = ""
    code: int = 0


class _StreamFault(msgspec.Struct):
    grpc_code: int = 0
    message: str = ""


class _OfStream(msgspec.Struct):
    error: _StreamFault


encode = msgspec.json.encode

T = TypeVar("T")


def decode(kind: type[T], data: bytes) -> T:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=kind, strict=False)


def parse_fault(data: bytes) -> Fault:
    """As calls are refused, or as streams are. Raises msgspec.DecodeError."""
    try:
        return decode(Fault, data)
    except msgspec.DecodeError:
        found = decode(_OfStream, data).error
        return Fault(message=found.message, code=found.grpc_code)
