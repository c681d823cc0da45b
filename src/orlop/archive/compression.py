"""What an archive is packed with, and how to get the plain bytes out of it.

The decoders are fed in small pieces and asked for a bounded amount at a time, so that an archive that expands a
millionfold fills the disk's quota, not the daemon's memory. Truncated or damaged input is Malformed: a decoder that
merely stops early (zstd's does) is not believed.
"""

import bz2
import io
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import zstandard
from isal import igzip_lib

from orlop.archive import zstd_frames
from orlop.archive.digest import Sha256Thread
from orlop.archive.source import ArchiveSource, open_source
from orlop.archive.tar_fields import is_header
from orlop.errors import Malformed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Progress = Callable[[int], None]  # called with the number of (packed) archive bytes done so far

_INPUT_BYTES = 64 << 10  # what is left of a piece is copied at each member's end, so pieces are small
_OUTPUT_BYTES = 1 << 20
_MEMORY_LIMIT_BYTES = 256 << 20  # of a decoder's window; xz -9 and zstd --ultra -22 need less
# isal's type stubs hide that its error is an Exception.
_DAMAGE = (OSError, EOFError, ValueError, lzma.LZMAError, cast("type[Exception]", igzip_lib.IsalError))


class Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


def detect(source: Path | ArchiveSource) -> Compression:
    """By the first bytes. A tar whose first member's name merely looks like a packed file is a plain tar."""
    with open_source(source) as file:
        return detect_start(file.read(512))


def detect_start(start: bytes) -> Compression:
    if is_header(start):
        return Compression.NONE
    if start.startswith(b"\x1f\x8b\x08"):
        return Compression.GZIP
    if start.startswith(b"BZh"):
        return Compression.BZIP2
    if start.startswith(b"\xfd7zXZ\x00"):
        return Compression.XZ
    if zstd_frames.is_frame(start):
        return Compression.ZSTD
    return Compression.NONE


def decompress(
    source: Path | ArchiveSource, target: Path, progress: Progress | None = None, hashed: bool = True
) -> str:
    """Write the plain bytes of `source` to `target`; "sha256:<hex>" of them, if wanted. Raises Malformed for truncated
    or damaged data; what `target` holds then is of no use."""
    with open_source(source) as packed, target.open("wb") as plain, Sha256Thread() as sha256:
        for data in _plain(packed):
            if hashed:
                sha256.update(data)
            plain.write(data)
            if progress:
                progress(packed.tell())
        return sha256.digest() if hashed else ""


@contextmanager
def open_plain(source: Path | ArchiveSource) -> Iterator[BinaryIO]:
    """The plain bytes of a file, whatever it is packed with, as a stream. Reading raises Malformed as above."""
    with open_source(source) as packed:
        if detect_start(packed.read(512)) is Compression.NONE:
            packed.seek(0)
            yield packed
            return
        packed.seek(0)
        with io.BufferedReader(_ChunkStream(_plain(packed)), _INPUT_BYTES) as stream:
            yield stream


def _plain(packed: BinaryIO) -> Iterator[bytes]:
    compression = detect_start(packed.read(512))
    packed.seek(0)
    match compression:
        case Compression.NONE:
            return iter(lambda: packed.read(_OUTPUT_BYTES), b"")
        case Compression.GZIP:
            return _members(packed, _gzip, compression)
        case Compression.BZIP2:
            return _members(packed, bz2.BZ2Decompressor, compression)
        case Compression.XZ:
            return _members(packed, _xz, compression)
        case Compression.ZSTD:
            return _zstd(packed)


class _Decoder(Protocol):
    """What bz2, lzma and isal have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _gzip() -> _Decoder:
    decoder: _Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decoder


def _xz() -> _Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_LIMIT_BYTES)


def _members(packed: "_Readable", new_decoder: Callable[[], _Decoder], compression: Compression) -> Iterator[bytes]:
    """The plain bytes of one or more members in a row, as `cat a.gz b.gz` makes them; zeros may follow (tapes)."""
    data = packed.read(_INPUT_BYTES)
    while data:
        decoder = new_decoder()
        while not decoder.eof:
            try:
                plain = decoder.decompress(data, _OUTPUT_BYTES)
            except _DAMAGE as error:
                raise Malformed("archive", f"its {compression} data is damaged: {error}") from error
            if plain:
                yield plain
            data = b""
            if not decoder.eof and decoder.needs_input:
                data = packed.read(_INPUT_BYTES)
                if not data:
                    raise Malformed("archive", f"its {compression} data is cut off")
        data = decoder.unused_data or packed.read(_INPUT_BYTES)
        while data and not data.strip(b"\0"):
            data = packed.read(_INPUT_BYTES)


def _zstd(packed: BinaryIO) -> Iterator[bytes]:
    zstd_frames.check_complete(packed)
    packed.seek(0)
    decoder = zstandard.ZstdDecompressor(max_window_size=_MEMORY_LIMIT_BYTES >> 1)
    try:
        with decoder.stream_reader(packed, read_across_frames=True, closefd=False) as stream:
            while data := stream.read(_OUTPUT_BYTES):
                yield data
    except zstandard.ZstdError as error:
        raise Malformed("archive", f"its zstd data is damaged: {error}") from error


def decode_stream(start: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The plain bytes of something that can be read only once, `start` being what was read of it to detect it."""
    arriving = _Arriving(start, read)
    match detect_start(start):
        case Compression.NONE:
            return iter(lambda: arriving.read(_OUTPUT_BYTES), b"")
        case Compression.GZIP:
            return _members(arriving, _gzip, Compression.GZIP)
        case Compression.BZIP2:
            return _members(arriving, bz2.BZ2Decompressor, Compression.BZIP2)
        case Compression.XZ:
            return _members(arriving, _xz, Compression.XZ)
        case Compression.ZSTD:
            return _zstd_arriving(arriving)


class _Arriving:
    def __init__(self, start: bytes, read: Callable[[int], bytes]) -> None:
        self._start = start
        self._read = read
        self.outline = zstd_frames.Follower()
        self.follows = False

    def read(self, count: int = -1) -> bytes:
        if self._start:
            data, self._start = self._start[:count], self._start[count:]
        else:
            data = self._read(count)
        if self.follows:
            self.outline.feed(data)
        return data


def _zstd_arriving(arriving: _Arriving) -> Iterator[bytes]:
    arriving.follows = True
    decoder = zstandard.ZstdDecompressor(max_window_size=_MEMORY_LIMIT_BYTES >> 1)
    try:
        with decoder.stream_reader(cast(BinaryIO, arriving), read_across_frames=True, closefd=False) as stream:
            while data := stream.read(_OUTPUT_BYTES):
                yield data
    except zstandard.ZstdError as error:
        raise Malformed("archive", f"its zstd data is damaged: {error}") from error
    arriving.outline.finish()


class _Readable(Protocol):
    def read(self, count: int = ..., /) -> bytes: ...


class _ChunkStream(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        into = memoryview(buffer)
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
