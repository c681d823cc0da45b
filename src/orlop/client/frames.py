"""The framing of attach and logs without a terminal: stream number, three zero bytes, length, payload."""

from collections.abc import Iterator

STDIN, STDOUT, STDERR = 0, 1, 2
_HEAD_BYTES = 8


class FrameReader:
    """Turns received pieces into (stream, payload). Payloads are passed on as they come, not gathered first."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._stream = STDOUT

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        while data:
            if self._left:
                payload, data = data[: self._left], data[self._left :]
                self._left -= len(payload)
                yield self._stream, payload
                continue
            missing = _HEAD_BYTES - len(self._head)
            self._head += data[:missing]
            data = data[missing:]
            if len(self._head) == _HEAD_BYTES:
                self._stream = self._head[0]
                self._left = int.from_bytes(self._head[4:], "big")
                self._head = b""
