"""Where etcd is, as `--cluster` says it: `etcd://HOST[:PORT][,HOST[:PORT]...]`."""

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from orlop.errors import Malformed
from orlop.model.value import dataclass

_SCHEME = "etcd://"
_PORT = 2379


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int = _PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How etcd knows us, and we it. TLS is spoken as soon as one of the three files is named."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def is_tls(self) -> bool:
        return any((self.ca, self.certificate, self.key))


def parse_endpoints(address: str) -> Sequence[Endpoint]:
    """Raises Malformed."""
    if not address.startswith(_SCHEME):
        raise _malformed(address, f"it does not begin with {_SCHEME}")
    places = address.removeprefix(_SCHEME).rstrip("/").split(",")
    return tuple(dict.fromkeys(_parse_endpoint(address, place.removeprefix(_SCHEME)) for place in places))


def _parse_endpoint(address: str, place: str) -> Endpoint:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            raise _malformed(address, f"{place} is no address")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    if not host or any(character in "/@?# " for character in host):
        raise _malformed(address, f"{place!r} names no host")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise _malformed(address, f"{port!r} is no port")
    return Endpoint(host, int(port) if port else _PORT)


def _malformed(address: str, why: str) -> Malformed:
    return Malformed(f"cluster address {address!r}", why, "For example: etcd://10.0.0.1:2379,10.0.0.2:2379")
