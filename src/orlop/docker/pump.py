"""Between a client's hijacked connection and a container's packet socket, both ways, with back-pressure.

    client --bytes--> [detach keys?] --packets of at most 32 KiB--> supervisor
    client <--frames or raw bytes--- packets, one byte says which stream --- supervisor

The packet socket may come later than the client (attach before start). A client that closes its sending side ends the
container's standard input and goes on reading; one that goes away ends the pump, the container runs on.
"""

import asyncio
import logging
import socket
from collections import deque

from orlop.docker.detach import DetachFilter
from orlop.docker.messages import RawConnection
from orlop.docker.packets import receive_packets
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

PACKET_BYTES = 32 << 10  # the most the supervisor takes in one packet
MAX_INPUT_BYTES = 256 << 10  # waiting for the container to read; beyond it the client is made to wait


@dataclass(frozen=True, slots=True)
class StreamChoice:
    """Which streams a client asked for, and how they are to be sent."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    detach_keys: bytes


class Pump:
    """A `RawListener`. Made first, given its packet socket by `connect`, which owns it from then on."""

    def __init__(self, client: RawConnection, choice: StreamChoice) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._choice = choice
        self._detach = DetachFilter(choice.detach_keys) if choice.tty and choice.stdin else None
        self._socket: socket.socket | None = None
        self._input: deque[bytes] = deque()
        self._input_bytes = 0
        self._input_ended = False
        self._input_closed = False
        self._writing = False
        self._reading = False
        self._client_reads = True
        self._leaving = False  # the client has left; what it typed is still on its way
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connect(self, packets: socket.socket) -> None:
        if self.done.done():
            packets.close()
            return
        packets.setblocking(False)
        self._socket = packets
        self._read_again()
        self._flush_input()

    def stop(self) -> None:
        """End it, whoever is still there. May be called twice."""
        if self._socket is not None:
            if self._reading:
                self._loop.remove_reader(self._socket.fileno())
            if self._writing:
                self._loop.remove_writer(self._socket.fileno())
            self._reading = self._writing = False
            self._socket.close()
            self._socket = None
        if not self.done.done():
            self.done.set_result(None)

    @property
    def client_left(self) -> bool:
        return self._leaving

    # From the client

    def data(self, data: bytes) -> None:
        if not self._choice.stdin or self.done.done() or self._input_ended or self._leaving:
            return
        detached = False
        if self._detach is not None:
            data, detached = self._detach.feed(data)
        for start in range(0, len(data), PACKET_BYTES):
            self._input.append(data[start : start + PACKET_BYTES])
        self._input_bytes += len(data)
        self._flush_input()
        if detached:
            self.gone()
        elif self._input_bytes > MAX_INPUT_BYTES:
            self._client.pause_reading()

    def end_of_input(self) -> None:
        self._input_ended = True
        self._flush_input()

    def gone(self) -> None:
        self._leaving = True
        if self._socket is None or not self._input:
            self.stop()

    def can_write(self, possible: bool) -> None:
        self._client_reads = possible
        if possible:
            self._read_again()
        elif self._reading and self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._reading = False

    # To the container

    def _flush_input(self) -> None:
        if self._socket is None:
            return
        try:
            while self._input:
                self._socket.send(self._input[0])
                self._input_bytes -= len(self._input.popleft())
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket.fileno(), self._flush_input)
            return
        except OSError:  # the process's end of it has gone; its output may still be on the way
            self._input.clear()
            self._input_bytes = 0
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())
        if self._input_bytes <= MAX_INPUT_BYTES // 2:
            self._client.resume_reading()
        if self._leaving:
            self.stop()
            return
        if self._input_ended and not self._input_closed and self._choice.stdin:
            self._input_closed = True
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                log.debug("the supervisor had gone when the client ended its input")

    # From the container

    def _read_again(self) -> None:
        if self._socket is not None and not self._reading and self._client_reads:
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._read_packets)

    def _read_packets(self) -> None:
        assert self._socket is not None
        choice = self._choice
        try:
            data, ended = receive_packets(self._socket, choice.stdout, choice.stderr, framed=not choice.tty)
        except OSError as error:
            log.debug("attach socket: %s", error)
            data, ended = b"", True
        if data:
            self._client.write(data)
        if ended:
            self.stop()
