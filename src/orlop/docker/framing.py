"""Where a request's head and body end.

httptools reads heads; the ends of messages are found here, byte for byte, because a connection can be taken over in
the middle of what arrived: a parser that runs on into the next message would swallow the first bytes of a stream.

    HEAD bytes ... \r\n\r\n | body of Content-Length bytes, or chunks | next HEAD
"""

from typing import Protocol

from orlop.errors import Malformed

MAX_CHUNK_LINE = 1024


class BodyDecoder(Protocol):
    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """Pieces of the body, and what follows it once it is complete (None before that)."""


class LengthDecoder:
    """Content-Length: so many bytes."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        if len(data) < self._left:
            self._left -= len(data)
            return [data], None
        body, rest = data[: self._left], data[self._left :]
        self._left = 0
        return [body] if body else [], rest


class ChunkDecoder:
    """Transfer-Encoding: chunked. Raises Malformed."""

    __slots__ = ("_buffer", "_in_trailer", "_left", "_trailer_bytes")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0  # bytes of the current chunk still to come, with its CRLF
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        pieces: list[bytes] = []
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        position = 0
        while True:
            if self._left > 2:
                piece = data[position : position + self._left - 2]
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                if self._left > 2:
                    return pieces, None
            if self._left:
                end = data[position : position + 2]
                if len(end) < 2:
                    self._buffer = end
                    return pieces, None
                if end != b"\r\n":
                    raise Malformed("", "malformed chunked encoding: a chunk is longer than its size says")
                position += 2
                self._left = 0
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                self._buffer = data[position:]
                if len(self._buffer) > MAX_CHUNK_LINE:
                    raise Malformed("", "malformed chunked encoding: a chunk's size line is too long")
                return pieces, None
            line = data[position:line_end]
            position = line_end + 2
            if self._in_trailer:
                if not line:
                    return pieces, data[position:]
                self._trailer_bytes += len(line)
                if self._trailer_bytes > MAX_CHUNK_LINE * 16:
                    raise Malformed("", "malformed chunked encoding: the trailer is too long")
                continue
            size = _parse_size(line)
            if size == 0:
                self._in_trailer = True
            else:
                self._left = size + 2


def _parse_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
        raise Malformed("", f"malformed chunked encoding: {line[:40]!r} is no chunk size")
    return int(digits, 16)
