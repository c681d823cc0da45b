"""Packets of a supervisor to the bytes that clients get, with as little copying as Python allows.

A packet is one byte that names the stream, then data. All packets of one go are received into one buffer, each over the
last byte of the one before it, so that data of the same stream lies together and gets one frame:

    [frame head 8][data of packet 1][data of packet 2] [frame head 8][data of packet 3, another stream]
                 ^ packet 1's first byte falls here and is overwritten by the head
"""

import socket
import struct

STDOUT, STDERR = 1, 2
FRAME_HEAD_BYTES = 8
MAX_PACKET_BYTES = 8193  # the most a supervisor sends at once
PACKETS_AT_ONCE = 32
_FRAME_HEAD = struct.Struct(">BxxxI")

# One for all: it is filled and emptied within one call, in the loop's thread.
_buffer = bytearray((MAX_PACKET_BYTES + FRAME_HEAD_BYTES) * (PACKETS_AT_ONCE + 1))
_view = memoryview(_buffer)


def frame_head(stream: int, length: int) -> bytes:
    """What precedes data in Docker's multiplexed form: one byte for the stream, three of zero, four of length."""
    return _FRAME_HEAD.pack(stream, length)


def receive_packets(packets: socket.socket, stdout: bool, stderr: bool, framed: bool) -> tuple[bytes, bool]:
    """What has arrived, of the streams that are wanted; and whether that was the end. Raises OSError."""
    receive = packets.recv_into
    head, end = 0, FRAME_HEAD_BYTES  # of the frame that is being filled
    current = 0  # its stream
    ended = False
    for _ in range(PACKETS_AT_ONCE):
        at = end - 1
        covered = _buffer[at]
        try:
            size = receive(_view[at : at + MAX_PACKET_BYTES])
        except BlockingIOError:
            break
        except ConnectionResetError:
            # The supervisor went without having read all input. The kernel says so once, and before it hands out the
            # output that arrived earlier: that is still to come.
            _buffer[at] = covered
            continue
        stream = STDERR if _buffer[at] - 1 == STDERR else STDOUT  # supervisors count from 2
        _buffer[at] = covered
        if not size:
            ended = True
            break
        if size == 1 or not (stderr if stream == STDERR else stdout):
            continue
        if framed and stream != current:
            if current:
                _FRAME_HEAD.pack_into(_buffer, head, current, end - head - FRAME_HEAD_BYTES)
                start = end + FRAME_HEAD_BYTES
                _view[start : start + size - 1] = bytes(_view[end : end + size - 1])
                head, end = end, start
            current = stream
        end += size - 1
    if not framed:
        return bytes(_view[FRAME_HEAD_BYTES:end]), ended
    if not current:
        return b"", ended
    _FRAME_HEAD.pack_into(_buffer, head, current, end - head - FRAME_HEAD_BYTES)
    return bytes(_view[:end]), ended
