"""The members of a tar held in a file: ustar, GNU and pax, read through mmap, trusting nothing.

Whatever is wrong (a cut, a checksum, a number, a header that contradicts itself) is Malformed, naming the member and
the byte. An archive may end without its two blocks of zeros only where a member ends. As in Go's reader, which Docker's
tools share, links, devices and directories carry no data whatever their size says, and bytes behind the end mark are
nobody's business. Names are not judged here: that is the unpacker's part.
"""

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Never, Protocol, Self

from orlop.archive import pax, sparse
from orlop.archive.member import Member, MemberKind, Overrides, Segment
from orlop.archive.source import ArchiveSource, as_source
from orlop.archive.tar_fields import BLOCK, HEADER, header_sum, is_header, parse_number, parse_string
from orlop.errors import Malformed

_KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"7": MemberKind.FILE,  # "contiguous", never was
    b"S": MemberKind.FILE,  # old GNU sparse
    b"1": MemberKind.HARD_LINK,
    b"2": MemberKind.SYMLINK,
    b"3": MemberKind.CHARACTER_DEVICE,
    b"4": MemberKind.BLOCK_DEVICE,
    b"5": MemberKind.DIRECTORY,
    b"6": MemberKind.FIFO,
}
_DEVICES = (MemberKind.CHARACTER_DEVICE, MemberKind.BLOCK_DEVICE)
_ZEROS = bytes(BLOCK)
_MAX_EXTENSION_BYTES = 1 << 20  # names, pax records; Go's limit too
_GLOBAL_KEYS = ("uid", "gid", "mtime")  # what may sensibly hold for all members; a common path or size may not
KERNEL_COPY_BYTES = 1 << 20  # from here on copy_file_range beats write
_NOT_THIS_WAY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_MAX_MAJOR, _MAX_MINOR = 0xFFF, 0xFFFFF  # what mknod(2) takes


class ArchiveReader(Protocol):
    """What unpacking needs: the members in order, and the data of the one that came last. A context manager."""

    def __iter__(self) -> Iterator[Member]: ...

    def copy_into(self, fd: int, offset: int, count: int) -> None:
        """Write bytes of the archive to a file, at its current position."""


class MemberWalk:
    """Walks the headers. Where the bytes come from is the part of those who derive from it."""

    comment = ""  # the last `comment` of a global extended header so far
    count = 0  # of members so far

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def _read(self, start: int, end: int) -> bytes:
        """Bytes of the archive, fewer where it ends. `start` never goes back behind an earlier one."""
        raise NotImplementedError

    def _check_there(self, offset: int, end: int, stored: int) -> None:
        """Raises ValueError when it is known already that the data does not reach that far."""

    def __iter__(self) -> Iterator[Member]:
        at = start = 0
        common: dict[str, bytes] = {}
        own: list[pax.Record] = []
        long_name: str | None = None
        long_link: str | None = None
        while header := self._read(at, at + BLOCK):
            if header == _ZEROS:
                self._check_end(at)
                break
            kind = self._check_header(header, at)
            if kind == b"L":
                at, long_name = self._long_string(header, at)
            elif kind == b"K":
                at, long_link = self._long_string(header, at)
            elif kind in (b"x", b"X"):
                at, own = self._records(header, at)
            elif kind == b"g":
                at, records = self._records(header, at)
                common.update((key, value) for key, value in records if key in _GLOBAL_KEYS)
                self.comment = next((decode(value) for key, value in records if key == "comment"), self.comment)
            elif kind == b"V":  # a volume label: a name and nothing else
                at += BLOCK
            else:
                member = self._member(header, start, at, [*common.items(), *own], long_name, long_link)
                self.count += 1
                yield member
                at = start = member.next_offset
                own, long_name, long_link = [], None, None
        if own or long_name is not None or long_link is not None:
            raise Malformed(self._subject, f"it is cut off at byte {at}: an extended header without its member")
        self._ended(bool(header), at)

    def _ended(self, has_mark: bool, at: int) -> None:
        """After the last member: whether the archive says that it ends here."""

    def _refuse(self, name: str, at: int, why: str) -> Never:
        raise Malformed(self._subject, f"member {name!r} at byte {at}: {why}")

    def _check_end(self, at: int) -> None:
        """One block of zeros ends a tar, if nothing or another one follows."""
        after = self._read(at + BLOCK, at + 2 * BLOCK)
        if after and after.strip(b"\0"):
            raise Malformed(self._subject, f"a lone block of zeros at byte {at}")

    def _check_header(self, header: bytes, at: int) -> bytes:
        if len(header) < BLOCK:
            raise Malformed(self._subject, f"it is cut off at byte {at + len(header)}, inside a header")
        # The fast path: six octal digits, zero, space, as every living archiver writes it.
        if header[148:156] != b"%06o\0 " % header_sum(header) and not is_header(header):
            if at == 0:
                raise Malformed(self._subject, "it is not a tar archive")
            raise Malformed(self._subject, f"the header at byte {at} has a wrong checksum")
        return header[156:157]

    def _extension(self, header: bytes, at: int) -> bytes:
        """The data of an extended header."""
        try:
            size = parse_number(header[124:136])
        except ValueError as error:
            self._refuse("extended header", at, str(error))
        if not 0 <= size <= _MAX_EXTENSION_BYTES:
            self._refuse("extended header", at, f"a size of {size} bytes is out of bounds")
        padded = -(-size // BLOCK) * BLOCK
        data = self._read(at + BLOCK, at + BLOCK + padded)
        if len(data) < padded:
            self._refuse("extended header", at, "it is cut off")
        return data[:size]

    def _long_string(self, header: bytes, at: int) -> tuple[int, str]:
        data = self._extension(header, at)
        return at + BLOCK + -(-len(data) // BLOCK) * BLOCK, parse_string(data)

    def _records(self, header: bytes, at: int) -> tuple[int, list[pax.Record]]:
        data = self._extension(header, at)
        try:
            records = pax.parse_records(data)
        except ValueError as error:
            self._refuse("extended header", at, str(error))
        return at + BLOCK + -(-len(data) // BLOCK) * BLOCK, records

    def _member(
        self,
        header: bytes,
        start: int,
        at: int,
        records: list[pax.Record],
        long_name: str | None,
        long_link: str | None,
    ) -> Member:
        fields = HEADER.unpack(header)
        name = long_name or _header_name(fields)
        try:
            overrides = pax.interpret(records) if records else Overrides()
            name = long_name or overrides.name or name
            overrides.link_name = long_link or overrides.link_name
            return self._build(header, fields, name, start, at, overrides)
        except ValueError as error:
            self._refuse(name, at, str(error))

    def _build(
        self, header: bytes, fields: tuple[bytes, ...], name: str, start: int, at: int, overrides: Overrides
    ) -> Member:
        typeflag = fields[7]
        kind = _KINDS.get(typeflag)
        if kind is None:
            if typeflag != b"D":  # GNU's directory with a list of what was in it
                raise ValueError(f"a member of type {typeflag!r} cannot be unpacked")
            kind = MemberKind.DIRECTORY
        if not name:
            raise ValueError("it has no name")
        if kind is MemberKind.FILE and name.endswith("/"):
            kind = MemberKind.DIRECTORY  # how tars before ustar marked them
        size = overrides.size_bytes if overrides.size_bytes is not None else parse_number(fields[4])
        if not 0 <= size < 1 << 63:
            raise ValueError(f"a size of {size} bytes is out of bounds")
        if typeflag in (b"0", b"\0", b"7") and kind is MemberKind.DIRECTORY and size:
            raise ValueError("it is a directory with data")
        has_data = kind is MemberKind.FILE or typeflag == b"D"
        stored = size if has_data else 0
        data_offset = at + BLOCK
        major = minor = 0
        if kind in _DEVICES:
            major, minor = parse_number(fields[13]), parse_number(fields[14])
            if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
                raise ValueError(f"a device {major}:{minor} cannot be")
        next_offset = data_offset + -(-stored // BLOCK) * BLOCK
        segments: tuple[Segment, ...] | None = None
        if typeflag == b"S":
            size, segments, data_offset = self._old_gnu_sparse(header, at, stored)
            next_offset = data_offset + -(-stored // BLOCK) * BLOCK
        self._check_there(data_offset, next_offset, stored)
        if (overrides.sparse or overrides.sparse_pairs) and kind is MemberKind.FILE and typeflag != b"S":
            name = overrides.sparse.get("name") or name
            size, segments, skipped = self._pax_sparse(overrides, data_offset, stored)
            data_offset += skipped
            stored -= skipped
        return Member(
            name=name,
            kind=kind,
            size_bytes=size if kind is MemberKind.FILE else 0,
            mode=parse_number(fields[1]) & 0o7777,
            uid=overrides.uid if overrides.uid is not None else pax.check_id(parse_number(fields[2])),
            gid=overrides.gid if overrides.gid is not None else pax.check_id(parse_number(fields[3])),
            mtime_ns=overrides.mtime_ns
            if overrides.mtime_ns is not None
            else pax.bound_mtime(parse_number(fields[5]) * 1_000_000_000),
            link_name=overrides.link_name or parse_string(fields[8]),
            device_major=major,
            device_minor=minor,
            xattrs=overrides.xattrs,
            segments=segments,
            header_offset=start,
            data_offset=data_offset,
            stored_bytes=stored if kind is MemberKind.FILE else 0,
            next_offset=next_offset,
        )

    def _old_gnu_sparse(self, header: bytes, at: int, stored: int) -> tuple[int, tuple[Segment, ...], int]:
        """The map is in the header and, while it says so, in blocks after it."""
        size = parse_number(header[483:495])
        numbers = list(sparse.old_gnu_numbers(header[386:482]))
        more = header[482]
        at += BLOCK
        while more:
            block = self._read(at, at + BLOCK)
            if len(block) < BLOCK:
                raise ValueError("its sparse map is cut off")
            numbers.extend(sparse.old_gnu_numbers(block[:504]))
            more = block[504]
            at += BLOCK
            if len(numbers) > sparse.MAX_NUMBERS:
                raise ValueError("its sparse map is too long")
        return size, sparse.segments_of(numbers, size, stored), at

    def _pax_sparse(self, overrides: Overrides, at: int, stored: int) -> tuple[int, tuple[Segment, ...], int]:
        facts = overrides.sparse
        size = pax.parse_decimal(facts.get("realsize") or facts.get("size") or "")
        if facts.get("major") == "1" and facts.get("minor") == "0":
            numbers, skipped = sparse.parse_map_10(self._map_10(at, stored))
            if skipped > stored:
                raise ValueError("its sparse map is cut off")
            return size, sparse.segments_of(numbers, size, stored - skipped), skipped
        if facts.get("major", "0") != "0":
            raise ValueError(f"sparse format {facts.get('major')} is unknown")
        numbers = sparse.parse_map_01(facts["map"]) if "map" in facts else list(overrides.sparse_pairs)
        return size, sparse.segments_of(numbers, size, stored), 0

    def _map_10(self, at: int, stored: int) -> memoryview:
        """The beginning of the data, as far as the map in it may reach."""
        size = 2 * BLOCK
        while True:
            data = self._read(at, at + min(size, stored))
            if len(data) < size or data.count(b"\n") >= sparse.lines_of_map_10(data):
                return memoryview(data)
            size *= 4


class TarReader(MemberWalk):
    """A context manager, iterable (any number of times) of the archive's members in order."""

    def __init__(self, source: Path | ArchiveSource, subject: str = "archive") -> None:
        super().__init__(subject)
        source = as_source(source)
        self._file = source.path.open("rb")
        there = self._file.seek(0, 2)
        self._map = mmap.mmap(self._file.fileno(), there, prot=mmap.PROT_READ) if there else None
        if self._map is not None:
            self._map.madvise(mmap.MADV_SEQUENTIAL)
        end = there if source.length < 0 else min(there, source.offset + source.length)
        self.file_offset = source.offset  # where in the file the archive begins
        with memoryview(self._map if self._map is not None else b"") as whole:
            self._view = whole[source.offset : end]
        self.size_bytes = len(self._view)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Views that `data` or `raw` gave out keep the map alive until they are gone too: in the traceback of an
        error, which this must not hide, some always are."""
        self._file.close()
        self._view.release()
        if self._map is not None:
            with suppress(BufferError):
                self._map.close()

    def fileno(self) -> int:
        """Of the file; the archive is at `file_offset` in it."""
        return self._file.fileno()

    def data(self, member: Member) -> memoryview:
        """The member's bytes in the archive; for a sparse file only its segments, one after the other."""
        return self._view[member.data_offset : member.data_offset + member.stored_bytes]

    def raw(self, start: int, end: int) -> memoryview:
        """Bytes of the archive itself, by offsets in it."""
        return self._view[start:end]

    def copy_into(self, fd: int, offset: int, count: int) -> None:
        end = offset + count
        if count >= KERNEL_COPY_BYTES:
            offset = self._copy_in_kernel(fd, offset, end)
        with self.raw(offset, end) as view:
            done = 0
            while done < len(view):
                done += os.write(fd, view[done:])

    def _copy_in_kernel(self, fd: int, offset: int, end: int) -> int:
        """How far it got. Within one file system blocks may be shared (copy_file_range); between two, as into an
        overlay, sendfile takes half the time of the way through our memory."""
        source, shift = self.fileno(), self.file_offset
        copies: tuple[Callable[[int], int], ...] = (
            lambda at: os.copy_file_range(source, fd, end - at, shift + at),
            lambda at: os.sendfile(fd, source, shift + at, end - at),
        )
        for copy in copies:
            try:
                while offset < end and (copied := copy(offset)):
                    offset += copied
                return offset
            except OSError as error:
                if error.errno not in _NOT_THIS_WAY:
                    raise
        return offset

    def _read(self, start: int, end: int) -> bytes:
        return bytes(self._view[start:end])

    def _check_there(self, offset: int, end: int, stored: int) -> None:
        if end > self.size_bytes:
            raise ValueError(f"it is cut off: {self.size_bytes - offset} of {stored} bytes are there")

    def _map_10(self, at: int, stored: int) -> memoryview:
        return self._view[at : at + stored]


def _header_name(fields: tuple[bytes, ...]) -> str:
    """The prefix counts in POSIX headers only; GNU's magic has other things in its place."""
    name, magic, version, prefix = fields[0], fields[9], fields[10], fields[15]
    if prefix[0] and magic == b"ustar\0" and version != b" \0":
        return parse_string(prefix) + "/" + parse_string(name)
    return parse_string(name)


def decode(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
