"""Pax extended headers: records `LENGTH KEY=VALUE\\n`, and what they mean for the next member. Pure.

Of the vendors' keys we know SCHILY.xattr.* (what GNU tar, bsdtar, Docker and podman all write), SCHILY.acl.* and
GNU.sparse.*.
bsdtar repeats each attribute as LIBARCHIVE.xattr.*; that copy is ignored, as by everyone else.
"""

from collections.abc import Iterable

from orlop.archive import acl
from orlop.archive.member import Overrides

Record = tuple[str, bytes]

_XATTR = "SCHILY.xattr."
_SPARSE = "GNU.sparse."
_MAX_ID = 0xFFFF_FFFE  # 2^32-1 means "leave it" to chown(2)
_MAX_SECONDS = (1 << 63) // 1_000_000_000 - 1


def parse_records(data: bytes) -> list[Record]:
    """Raises ValueError for anything that is not exactly a row of records."""
    records = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space]
        if space < 0 or not digits.isdigit():
            raise ValueError("an extended header record does not start with its length")
        end = at + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end - 1 <= space or data[end - 1 : end] != b"\n" or not equals or not key:
            raise ValueError("an extended header record has a wrong length")
        records.append((key.decode("utf-8", "surrogateescape"), value))
        at = end
    return records


def interpret(records: Iterable[Record]) -> Overrides:
    """Raises ValueError for a value that cannot be."""
    found = Overrides()
    xattrs: dict[str, bytes] = {}
    sparse: dict[str, str] = {}
    pairs: list[int] = []
    for key, value in records:
        if key in acl.KEYS:
            _set_xattr(xattrs, key, value)  # as the text that it is: only an exact copy makes something of it
        elif key.startswith(_XATTR):
            _set_xattr(xattrs, key.removeprefix(_XATTR), value)
        elif key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            if (len(pairs) % 2 == 0) != (key == "GNU.sparse.offset"):
                raise ValueError("its sparse map is out of order")
            pairs.append(parse_decimal(_text(key, value)))
        elif key.startswith(_SPARSE):
            sparse[key.removeprefix(_SPARSE)] = _text(key, value)
        else:
            _set_field(found, key, value)
    if xattrs:
        found.xattrs = xattrs
    found.sparse = sparse
    found.sparse_pairs = tuple(pairs)
    return found


def parse_decimal(text: str | bytes) -> int:
    """Plain digits and nothing else; int() alone would take signs, spaces and underscores."""
    if not text.isdigit() or len(text) > 19 or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def parse_mtime(text: str) -> int:
    """Seconds with an optional fraction -> nanoseconds. A time that does not fit becomes the epoch."""
    negative = text.startswith("-")
    whole, _, fraction = text.removeprefix("-").partition(".")
    if fraction and not (fraction.isdigit() and fraction.isascii()):
        raise ValueError(f"{text!r} is not a time")
    nanoseconds = parse_decimal(whole) * 1_000_000_000 + int((fraction[:9] + "000000000")[:9])
    return bound_mtime(-nanoseconds if negative else nanoseconds)


def bound_mtime(nanoseconds: int) -> int:
    return nanoseconds if abs(nanoseconds) // 1_000_000_000 <= _MAX_SECONDS else 0


def check_id(value: int) -> int:
    if not 0 <= value <= _MAX_ID:
        raise ValueError(f"{value} is not a user or group id")
    return value


def _set_xattr(xattrs: dict[str, bytes], name: str, value: bytes) -> None:
    if not name or "\0" in name:
        raise ValueError("an extended attribute has an impossible name")
    xattrs[name] = value


def _set_field(found: Overrides, key: str, value: bytes) -> None:
    text = _text(key, value) if key in ("path", "linkpath", "size", "uid", "gid", "mtime") else ""
    match key:
        case "path":
            found.name = text or None
        case "linkpath":
            found.link_name = text or None
        case "size":
            found.size_bytes = parse_decimal(text) if text else None
        case "uid":
            found.uid = check_id(parse_decimal(text)) if text else None
        case "gid":
            found.gid = check_id(parse_decimal(text)) if text else None
        case "mtime":
            found.mtime_ns = parse_mtime(text) if text else None


def _text(key: str, value: bytes) -> str:
    if b"\0" in value:
        raise ValueError(f"the extended header's {key} contains a zero byte")
    return value.decode("utf-8", "surrogateescape")
