"""Where an archive's bytes are: a whole file, or a stretch of one (a layer inside an image archive, read in place)."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from orlop.model.value import dataclass

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    path: Path
    offset: int = 0
    length: int = -1  # -1 = to the end of the file


def as_source(source: Path | ArchiveSource) -> ArchiveSource:
    return source if isinstance(source, ArchiveSource) else ArchiveSource(source)


def open_source(source: Path | ArchiveSource) -> BinaryIO:
    """The bytes as a seekable stream that begins and ends where they do."""
    source = as_source(source)
    if source.offset == 0 and source.length < 0:
        return source.path.open("rb")
    return cast(BinaryIO, _Stretch(source))


class _Stretch(io.RawIOBase):
    def __init__(self, source: ArchiveSource) -> None:
        self._fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
        self._start = source.offset
        there = max(0, os.fstat(self._fd).st_size - source.offset)
        self._length = there if source.length < 0 else min(there, source.length)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._at, self._length)[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        into = memoryview(buffer)[: max(0, self._length - self._at)]
        count = os.preadv(self._fd, [into], self._start + self._at) if into else 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
