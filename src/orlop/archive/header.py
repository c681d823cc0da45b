"""Headers of a tar that we write: ustar, with a pax header before it for what does not fit. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache

from orlop.archive.member import MemberKind, Segment
from orlop.archive.tar_fields import BLOCK, HEADER, blank_header_sum
from orlop.model.value import dataclass

_TYPES = {
    MemberKind.FILE: b"0",
    MemberKind.HARD_LINK: b"1",
    MemberKind.SYMLINK: b"2",
    MemberKind.CHARACTER_DEVICE: b"3",
    MemberKind.BLOCK_DEVICE: b"4",
    MemberKind.DIRECTORY: b"5",
    MemberKind.FIFO: b"6",
}
_MAX_ID = 0o7777777
_MAX_LONG = 0o77777777777
END_OF_ARCHIVE = bytes(2 * BLOCK)


# Not frozen, as Member is not: making one would take three times as long, and there is one for each file.
@dataclass(slots=True)
class Entry:
    """What is to be written of one file. Names are decoded as the reader does it."""

    name: str
    kind: MemberKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    mtime_ns: int = 0
    link_name: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    segments: Sequence[Segment] | None = None  # a sparse file's; the data that follows is these, one after the other


def render_header(entry: Entry, exact_times: bool = False) -> bytes:
    """Everything before the data. Times are whole seconds unless `exact_times`, as Docker's tools write them; names of
    attributes are as GNU tar writes them where it is."""
    raw_name = _raw(entry.name)
    if entry.kind is MemberKind.DIRECTORY and not raw_name.endswith(b"/"):
        raw_name += b"/"
    records: list[tuple[str, bytes]] = []
    sparse_map = b""
    stored = entry.size_bytes
    if entry.segments is not None:
        sparse_map = _sparse_map(entry.segments, entry.size_bytes)
        stored = len(sparse_map) + sum(segment.length for segment in entry.segments)
        records += [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", raw_name),
            ("GNU.sparse.realsize", b"%d" % entry.size_bytes),
        ]
        directory, _, base = raw_name.rpartition(b"/")
        raw_name = (directory + b"/" if directory else b"") + b"GNUSparseFile.0/" + base
    name, prefix = _split(raw_name)
    if not name:
        records.append(("path", raw_name))
        name = raw_name[:100]
    link = _raw(entry.link_name) if entry.link_name else b""
    if len(link) > 100 or not link.isascii():
        records.append(("linkpath", link))
    uid, gid, size = entry.uid, entry.gid, stored
    if uid > _MAX_ID or gid > _MAX_ID or size > _MAX_LONG:
        uid, gid = _number("uid", uid, _MAX_ID, records), _number("gid", gid, _MAX_ID, records)
        size = _number("size", size, _MAX_LONG, records)
    mtime = _time(entry.mtime_ns, exact_times, records)
    if entry.xattrs:
        records += [(f"SCHILY.xattr.{_key(name, exact_times)}", entry.xattrs[name]) for name in sorted(entry.xattrs)]
    header = _ustar(
        name, entry.mode & 0o7777, uid, gid, size, mtime, _TYPES[entry.kind], link[:100], entry.device, prefix
    )
    return (render_pax(records, raw_name) if records else b"") + header + sparse_map


def render_pax(records: Sequence[tuple[str, bytes]], name: bytes) -> bytes:
    """A pax extended header for the member `name`."""
    data = b"".join([_record(key, value) for key, value in records])
    title = b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2][:80]
    rest, rest_sum = _pax_rest(len(data))
    checksum = b"%06o\0 " % (rest_sum + sum(title))
    return b"".join((title.ljust(100, b"\0"), rest[:48], checksum, rest[56:], data, padding(len(data))))


@lru_cache(maxsize=256)  # most of a tree's have one of a few lengths
def _pax_rest(length: int) -> tuple[bytes, int]:
    """A pax header without its name, and the sum of its bytes."""
    header = _ustar(b"", 0o644, 0, 0, length, 0, b"x", b"", (0, 0), b"")
    return header[100:], blank_header_sum(header[:148] + b"        " + header[156:])


def render_comment(text: str) -> bytes:
    """A global extended header whose `comment` every tar program knows and passes over."""
    data = _record("comment", _raw(text))
    header = _ustar(b"pax_global_header", 0o644, 0, 0, len(data), 0, b"g", b"", (0, 0), b"")
    return header + data + padding(len(data))


def padding(length: int) -> bytes:
    return bytes(-length % BLOCK)


def _ustar(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    typeflag: bytes,
    link: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    header = HEADER.pack(
        name,
        b"%07o\0" % mode,
        b"%07o\0" % uid,
        b"%07o\0" % gid,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b"        ",
        typeflag,
        link,
        b"ustar\0",
        b"00",
        b"",
        b"",
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
        prefix,
    )
    return header[:148] + b"%06o\0 " % blank_header_sum(header) + header[156:]


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Name and prefix; an empty name where ustar has no room, or only for ASCII."""
    if not name.isascii():
        return b"", b""
    if len(name) <= 100:
        return name, b""
    slash = name.rfind(b"/", 0, min(156, len(name) - 1))
    if slash > 0 and len(name) - slash - 1 <= 100:
        return name[slash + 1 :], name[:slash]
    return b"", b""


def _number(key: str, value: int, most: int, records: list[tuple[str, bytes]]) -> int:
    if value <= most:
        return value
    records.append((key, b"%d" % value))
    return 0


def _time(mtime_ns: int, exact: bool, records: list[tuple[str, bytes]]) -> int:
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    if 0 <= seconds <= _MAX_LONG and not (exact and nanoseconds):
        return seconds
    text = str(seconds)
    if exact and nanoseconds:
        whole, part = divmod(abs(mtime_ns), 1_000_000_000)
        text = f"{'-' if mtime_ns < 0 else ''}{whole}.{part:09d}"
    records.append(("mtime", text.encode()))
    return min(max(seconds, 0), _MAX_LONG)


def _record(key: str, value: bytes) -> bytes:
    body = b" " + _raw(key) + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    if len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def _key(name: str, exact: bool) -> str:
    """A key ends at the first "=", so one in an attribute's name is written as GNU tar does it. Docker's tools know
    nothing of that: what they may read gets as little of it as can be."""
    return (name.replace("%", "%25") if exact else name).replace("=", "%3D")


def _sparse_map(segments: Sequence[Segment], size: int) -> bytes:
    """GNU's format 1.0; a last empty segment marks the file's end where a hole is there."""
    numbers = [number for segment in segments for number in (segment.offset, segment.length)]
    if not segments or segments[-1].offset + segments[-1].length < size:
        numbers += [size, 0]
    data = b"".join(b"%d\n" % number for number in (len(numbers) // 2, *numbers))
    return data + padding(len(data))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
