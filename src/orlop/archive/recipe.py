"""How to build a layer's exact tar again from the unpacked layer.

A recipe holds the tar's bytes without the files' data: headers, padding, whiteouts and what lies behind the end, in
order, and between them which file's data belongs there. Data that is not in the layer any more, because a later member
replaced the file, is in the recipe itself. The whole is compressed; beside it stand the tar's length and digest,
against which every rebuilt tar is checked, and a checksum of each file, so that an altered one is named.

    zstd( line of JSON: format, digest, length, then records:
          "R" u32 length, bytes                                   raw bytes of the tar
          "F" u16 path length, u64 data length, u32 crc, u32 n,   a file's data; n segments of offset, length as u64
              path, segments                                      where it is sparse (n = 0: all of it)
          "E" )                                                   the end

A recipe of another format number is refused: a newer Orlop wrote it.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import BinaryIO

import zstandard
from isal import isal_zlib

from orlop.archive.digest import Sha256Thread
from orlop.archive.member import Segment
from orlop.archive.reader import TarReader
from orlop.archive.unpack import PlacedFile
from orlop.errors import HostFailure
from orlop.kernel.openat2 import open_beneath
from orlop.store.files import sync_directory

_FORMAT = 1
_RAW = Struct("<cI")
_FILE = Struct("<cHQII")
_SEGMENT = Struct("<QQ")
_GATHERED = 256 << 10
_CHUNK = 1 << 20
_LEVEL = 3


def write_recipe(path: Path, archive: TarReader, files: Sequence[PlacedFile], digest: str) -> None:
    """`files` in the archive's order, as the unpacker left them. Durable when this returns."""
    head = {"format": _FORMAT, "digest": digest, "length": archive.size_bytes}
    with path.open("wb") as file, zstandard.ZstdCompressor(_LEVEL).stream_writer(file) as out:
        gathered = bytearray(json.dumps(head).encode() + b"\n")
        for record in _records(archive, files):
            gathered += record
            if len(gathered) >= _CHUNK:
                out.write(gathered)
                gathered = bytearray()
        out.write(gathered + b"E")
        out.flush(zstandard.FLUSH_FRAME)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _records(archive: TarReader, files: Sequence[PlacedFile]) -> Iterator[bytes]:
    at = 0
    for placed in files:
        yield from _raw_records(archive, at, placed.data_offset)
        at = placed.data_offset + placed.stored_bytes
        name = os.fsencode(placed.path)
        segments = placed.segments or ()
        with archive.raw(placed.data_offset, at) as data:
            crc = isal_zlib.crc32(data)
        yield _FILE.pack(b"F", len(name), placed.stored_bytes, crc, len(segments)) + name
        for segment in segments:
            yield _SEGMENT.pack(segment.offset, segment.length)
    yield from _raw_records(archive, at, archive.size_bytes)


def _raw_records(archive: TarReader, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        with archive.raw(start, min(end, start + _CHUNK)) as piece:
            yield _RAW.pack(b"R", len(piece)) + piece
            start += len(piece)


def rebuild(recipe: Path, root: Path, out: BinaryIO) -> None:
    """Write the tar. Raises HostFailure, perhaps only at the end, when it is not the one that was unpacked."""
    try:
        with (
            recipe.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            Sha256Thread() as sha256,
        ):
            records = _Records(stream, recipe)
            root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for data in _gathered(_tar(records, root_fd, root)):
                    sha256.update(data)
                    out.write(data)
            finally:
                os.close(root_fd)
            if sha256.digest() != records.digest:
                raise HostFailure(f"layer {root}", "its files do not make the tar that they came from", _HINT)
    except (zstandard.ZstdError, FileNotFoundError) as error:
        raise HostFailure(f"recipe {recipe}", f"it cannot be read: {error}") from error


_HINT = "Something altered the layer's directory; remove the image and load it again"


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each costs a hand-over to the hashing thread and a system call."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _GATHERED:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _tar(records: "_Records", root_fd: int, root: Path) -> Iterator[bytes]:
    while (kind := records.read(1)) != b"E":
        if kind == b"R":
            (length,) = records.fields(Struct("<I"))
            yield records.read(length)
        elif kind == b"F":
            name_length, length, crc, count = records.fields(Struct("<HQII"))
            name = os.fsdecode(records.read(name_length))
            segments = [Segment(*records.fields(_SEGMENT)) for _ in range(count)]
            try:
                yield from _file(root_fd, name, segments or [Segment(0, length)], not segments, crc)
            except OSError as error:
                raise HostFailure(f"layer file {root / name}", error.strerror or str(error), _HINT) from error
            except ValueError as error:
                raise HostFailure(f"layer file {root / name}", str(error), _HINT) from error
        else:
            raise records.broken()


def _file(root_fd: int, name: str, segments: Sequence[Segment], whole: bool, wanted_crc: int) -> Iterator[bytes]:
    # Not blocking: in the place of the file there may be a fifo now.
    fd = open_beneath(root_fd, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, no_symlinks=True)
    try:
        if whole and os.fstat(fd).st_size != segments[0].length:
            raise ValueError("it has another length than in the tar")
        crc = 0
        for segment in segments:
            at, end = segment.offset, segment.offset + segment.length
            while at < end:
                data = os.pread(fd, min(_CHUNK, end - at), at)
                if not data:
                    raise ValueError("it is shorter than in the tar")
                crc = isal_zlib.crc32(data, crc)
                at += len(data)
                yield data
        if crc != wanted_crc:
            raise ValueError("its content is not what the tar had")
    finally:
        os.close(fd)


class _Records:
    def __init__(self, stream: zstandard.ZstdDecompressionReader, recipe: Path) -> None:
        self._stream = stream
        self._recipe = recipe
        self._buffer = b""
        self._at = 0
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self.read(1)
        try:
            self.head = json.loads(line)
            number, self.digest = self.head["format"], self.head["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise self.broken() from error
        if number != _FORMAT:
            raise HostFailure(f"recipe {recipe}", f"format {number} is not known to this version of Orlop")

    def fields(self, struct: Struct) -> tuple[int, ...]:
        return struct.unpack(self.read(struct.size))

    def read(self, count: int) -> bytes:
        while len(self._buffer) - self._at < count:
            more = self._stream.read(_CHUNK)
            if not more:
                raise self.broken()
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        self._at += count
        return self._buffer[self._at - count : self._at]

    def broken(self) -> HostFailure:
        return HostFailure(f"recipe {self._recipe}", "it is damaged")
