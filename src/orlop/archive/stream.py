"""The members of a tar that arrives through a pipe, once, in order: nothing is spooled, little is held in memory.

Trusted no more than one in a file (reader.py), with one difference: it must say where it ends, because a stream that
was broken off at the end of a member looks just like one that ended there. Plain data goes from the pipe to the file
without passing through our memory (splice).
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from orlop.archive.compression import Compression, decode_stream, detect_start
from orlop.archive.reader import MemberWalk, decode
from orlop.archive.tar_fields import BLOCK
from orlop.errors import Malformed

_PIECE_BYTES = 256 << 10
_SPLICE_BYTES = 1 << 20
_LONGEST_START = 8 << 20
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS)


class TarStream(MemberWalk):
    """A context manager, iterable once. `fd` (a pipe, or anything to be read) stays the caller's."""

    def __init__(self, fd: int, start: bytes = b"", subject: str = "archive") -> None:
        """`start` is what was read from `fd` before."""
        super().__init__(subject)
        self._buffer = b""
        self._used = 0  # how much of the buffer is behind us
        self._at = 0  # offset in the archive of what comes next in it
        self._pipe = fd
        start += _read_fully(fd, BLOCK - len(start))
        self._compression = detect_start(start)
        self._splices = self._compression is Compression.NONE
        self._more: Callable[[], bytes]
        if self._splices:
            self._buffer = start
            self._more = lambda: os.read(fd, _PIECE_BYTES)
        else:
            pieces = decode_stream(start, lambda count: os.read(fd, count))
            self._more = lambda: next(pieces, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._buffer = b""

    def copy_into(self, fd: int, offset: int, count: int) -> None:
        self._skip_to(offset)
        while count:
            if self._used < len(self._buffer):
                with memoryview(self._buffer) as whole, whole[self._used : self._used + count] as view:
                    written = os.write(fd, view)
                self._used += written
            else:
                written = self._splice(fd, count) if self._splices else 0
                if not written:
                    self._fill(f"inside a member's data, {count} bytes before its end")
                    continue
            self._at += written
            count -= written

    def _splice(self, fd: int, count: int) -> int:
        try:
            return os.splice(self._pipe, fd, min(count, _SPLICE_BYTES))
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            self._splices = False
            return 0

    def _read(self, start: int, end: int) -> bytes:
        self._skip_to(start)
        count = end - start
        while len(self._buffer) - self._used < count and (piece := self._more()):
            self._buffer, self._used = self._buffer[self._used :] + piece, 0
        return self._buffer[self._used : self._used + count]

    def _skip_to(self, offset: int) -> None:
        assert offset >= self._at
        while self._at + len(self._buffer) - self._used < offset:
            self._at += len(self._buffer) - self._used
            self._fill(f"{offset - self._at} bytes before the end of a member")
        self._used += offset - self._at
        self._at = offset

    def _fill(self, where: str) -> None:
        """More, in the place of what is used up."""
        self._buffer, self._used = self._more(), 0
        if not self._buffer:
            raise Malformed(self._subject, f"it is cut off at byte {self._at}, {where}")

    def _ended(self, has_mark: bool, at: int) -> None:
        """What follows is read to the end: the client is still sending its last blocks of zeros, and a packed archive
        is whole only when its decoder says so."""
        if not has_mark:
            why = f"it is cut off at byte {at}: nothing there says that it ends" if at else "it is empty"
            raise Malformed(self._subject, why)
        while self._more():
            pass


def read_comment(fd: int) -> tuple[str, bytes]:
    """The comment with which the archive begins, "" where there is none, and what had to be read for it. Raises
    Malformed where what begins there is no tar."""
    start = _read_fully(fd, BLOCK)
    wanted = 4 * BLOCK
    while True:
        try:
            return _Start(start).find_comment(), start
        except _Short:
            more = _read_fully(fd, wanted - len(start))
            if not more or len(start) > _LONGEST_START:
                return "", start  # whatever is wrong with it is said when it is unpacked
            start += more
            wanted *= 4


class _Short(Exception):
    """More of the archive is needed."""


class _Start(MemberWalk):
    """The first bytes of an archive."""

    def __init__(self, start: bytes) -> None:
        super().__init__("archive")
        self._plain = start
        if detect_start(start) is not Compression.NONE:
            rest = memoryview(start)[BLOCK:]

            def read(count: int) -> bytes:
                nonlocal rest
                data, rest = bytes(rest[:count]), rest[count:]
                return data

            self._plain = b""
            with suppress(Malformed):  # it is cut off, of course
                for piece in decode_stream(start[:BLOCK], read):
                    self._plain += piece

    def find_comment(self) -> str:
        header = self._read(0, BLOCK)
        if not header.strip(b"\0"):
            return ""  # an archive of nothing
        if self._check_header(header, 0) == b"g":
            _, records = self._records(header, 0)
            return next((decode(value) for key, value in records if key == "comment"), "")
        return ""

    def _read(self, start: int, end: int) -> bytes:
        if end > len(self._plain):
            raise _Short
        return self._plain[start:end]


def _read_fully(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := os.read(fd, count - len(data))):
        data += piece
    return data
