"""Where a client's bytes go: to the process's standard input itself, or in packets to its supervisor.

Neither ever blocks. Both are ended the same way: it is the supervisor that closes the process's input for good.
"""

import os
import socket
from typing import Protocol

PACKET_BYTES = 32 << 10  # the most the supervisor takes in one packet


class ProcessInput(Protocol):
    def fileno(self) -> int:
        """What to wait for when it is full."""

    def write(self, data: memoryview) -> int:
        """How much was taken. BlockingIOError when it is full, another OSError when nobody reads it any more."""

    def end(self) -> None:
        """No more is to come. OSError where the supervisor has gone."""

    def close(self) -> None:
        """Whoever writes here has left. May be called twice."""


class PacketInput:
    def __init__(self, packets: socket.socket) -> None:
        self._packets = packets

    def fileno(self) -> int:
        return self._packets.fileno()

    def write(self, data: memoryview) -> int:
        return self._packets.send(data[:PACKET_BYTES])

    def end(self) -> None:
        self._packets.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """The socket is its reader's."""


class PipeInput:
    def __init__(self, pipe: int, packets: socket.socket) -> None:
        self._pipe = pipe
        self._packets = packets

    def fileno(self) -> int:
        return self._pipe

    def write(self, data: memoryview) -> int:
        return os.write(self._pipe, data)

    def end(self) -> None:
        self.close()
        self._packets.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)
