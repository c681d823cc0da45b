"""One member of a tar, as the reader found it and as the unpacker, packer and recipe use it."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from orlop.model.value import dataclass


class MemberKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a sparse file that holds data; all else is a hole."""

    offset: int
    length: int


_NO_XATTRS: Mapping[str, bytes] = {}


# Not frozen: a frozen value of 17 fields takes three times as long to make, and layers have 100 000 members.
@dataclass(slots=True)
class Member:
    """Names are bytes of the archive decoded as UTF-8 with surrogateescape, not normalised, not yet trusted.

    A file's data is at [data_offset, data_offset + stored_bytes) of the archive; for a sparse file that is its
    segments one after the other, else the whole file. [header_offset, data_offset) holds the member's header with
    the extended headers before it; after the data comes padding up to next_offset.
    """

    name: str
    kind: MemberKind
    size_bytes: int  # of the file once unpacked, holes included
    mode: int  # permissions with setuid, setgid, sticky
    uid: int
    gid: int
    mtime_ns: int
    link_name: str
    device_major: int
    device_minor: int
    xattrs: Mapping[str, bytes]
    segments: tuple[Segment, ...] | None  # None: not sparse
    header_offset: int
    data_offset: int
    stored_bytes: int
    next_offset: int


@dataclass(slots=True)
class Overrides:
    """What extended headers say about the next member; it wins over the member's own header."""

    name: str | None = None
    link_name: str | None = None
    size_bytes: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: _NO_XATTRS)
    sparse: Mapping[str, str] = field(default_factory=dict)  # GNU.sparse.*, without that prefix
    sparse_pairs: tuple[int, ...] = ()  # offset, length, offset, ... of GNU.sparse 0.0
