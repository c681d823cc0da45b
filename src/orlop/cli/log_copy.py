"""A container's log to standard output and error."""

import os
from typing import TYPE_CHECKING

from orlop.client.frames import STDERR, FrameReader

if TYPE_CHECKING:
    from orlop.client.http import Response


def copy_log(response: "Response", framed: bool) -> None:
    frames = FrameReader()
    for piece in response.pieces():
        if framed:
            for stream, payload in _joined(frames, piece):
                _write(2 if stream == STDERR else 1, payload)
        else:
            _write(1, piece)


def _joined(frames: FrameReader, piece: bytes) -> list[tuple[int, bytes]]:
    """Neighbouring frames of one stream as one: a log has a frame a line, and a write each would be slow."""
    joined: list[tuple[int, list[bytes]]] = []
    for stream, payload in frames.feed(piece):
        if joined and joined[-1][0] == stream:
            joined[-1][1].append(payload)
        else:
            joined.append((stream, [payload]))
    return [(stream, b"".join(payloads)) for stream, payloads in joined]


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
