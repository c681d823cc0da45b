"""Is a zstd file whole? The decoder does not say: at a cut it just ends. The frames' outline is a few headers, so we
walk it: frame header, blocks with their sizes, optional checksum, any number of frames, skippable ones between."""

import struct
from collections.abc import Generator
from typing import BinaryIO

from orlop.errors import Malformed

_MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_BYTES = 64 << 10


def is_frame(start: bytes) -> bool:
    return start.startswith(_MAGIC) or _is_skippable(start)


def check_complete(file: BinaryIO) -> None:
    """Raises Malformed when the last frame is cut off, or something else follows it."""
    size = file.seek(0, 2)
    outline = _Outline(file)
    at = 0
    while at < size:
        start = outline.read(at, 18)
        if _is_skippable(start) and len(start) >= 8:
            at += 8 + int(struct.unpack_from("<I", start, 4)[0])
        elif start.startswith(_MAGIC) and len(start) >= 5:
            at = _frame_end(outline, at, start[4])
        elif len(start) >= 4:
            raise Malformed("archive", f"something that is not zstd follows at byte {at}")
        else:
            at = size + 1
    if at > size:
        raise Malformed("archive", "its zstd data is cut off")


def _is_skippable(start: bytes) -> bool:
    return len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50


def _frame_end(outline: "_Outline", at: int, descriptor: int) -> int:
    at += 5 + _header_bytes(descriptor)
    while True:
        header = outline.read(at, 3)
        if len(header) < 3:
            raise Malformed("archive", "its zstd data is cut off")
        value = int.from_bytes(header, "little")
        kind, size = (value >> 1) & 3, value >> 3
        at += 3 + (1 if kind == 1 else size)  # 1: one byte, repeated `size` times
        if value & 1:
            return at + (4 if descriptor & 4 else 0)


def _header_bytes(descriptor: int) -> int:
    """What a frame's header has after its descriptor: window, dictionary id, content size."""
    single_segment = bool(descriptor & 0x20)
    content_size = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    return (0 if single_segment else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size


class _Outline:
    """Small reads at rising offsets, from a window that is read once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self._window = b""

    def read(self, at: int, count: int) -> bytes:
        if at < self._at or at + count > self._at + len(self._window):
            self._file.seek(at)
            self._at, self._window = at, self._file.read(_WINDOW_BYTES)
        return self._window[at - self._at : at - self._at + count]


class Follower:
    """The same for bytes that go by: `feed` all of them, then `finish`, which raises Malformed as above."""

    def __init__(self) -> None:
        self._parts = self._frames()
        self._wanted = next(self._parts)  # bytes of a header to be shown; negative: to be skipped
        self._held = b""
        self._between = True  # frames: here it may end

    def feed(self, data: bytes) -> None:
        while data:
            if self._wanted < 0:
                passed = min(-self._wanted, len(data))
                self._wanted += passed
                data = data[passed:]
                if self._wanted == 0:
                    self._wanted = self._parts.send(b"")
                continue
            taken = self._wanted - len(self._held)
            self._held, data = self._held + data[:taken], data[taken:]
            if len(self._held) == self._wanted:
                held, self._held = self._held, b""
                self._wanted = self._parts.send(held)

    def finish(self) -> None:
        if not self._between or self._held:
            raise Malformed("archive", "its zstd data is cut off")

    def _frames(self) -> Generator[int, bytes, None]:
        while True:
            self._between = True
            magic = yield 4
            self._between = False
            if _is_skippable(magic):
                (size,) = struct.unpack("<I", (yield 4))
                if size:
                    yield -size
            elif magic == _MAGIC:
                yield from self._blocks()
            else:
                raise Malformed("archive", "something that is not zstd follows its data")

    def _blocks(self) -> Generator[int, bytes, None]:
        descriptor = (yield 1)[0]
        header = _header_bytes(descriptor)
        if header:
            yield -header
        while True:
            value = int.from_bytes((yield 3), "little")
            kind, size = (value >> 1) & 3, value >> 3
            size = 1 if kind == 1 else size
            if size:
                yield -size
            if value & 1:
                break
        if descriptor & 4:
            yield -4
