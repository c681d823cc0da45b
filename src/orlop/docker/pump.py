"""Between a client's hijacked connection and a container's streams, both ways, with back-pressure.

    client --bytes--> [detach keys?] --> the process's input itself, or packets of at most 32 KiB --> supervisor
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
from orlop.docker.process_input import PacketInput, PipeInput, ProcessInput
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

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
        self._sink: ProcessInput | None = None
        self._input: deque[memoryview] = deque()
        self._input_bytes = 0
        self._input_ended = False
        self._input_closed = False
        self._writing = False
        self._reading = False
        self._client_reads = True
        self._leaving = False  # the client has left; what it typed is still on its way
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connect(self, packets: socket.socket, input_pipe: int = -1) -> None:
        """Both are the pump's from here on. Without a pipe the input goes by packets, too."""
        sink = PacketInput(packets) if input_pipe < 0 else PipeInput(input_pipe, packets)
        if self.done.done():
            sink.close()
            packets.close()
            return
        packets.setblocking(False)
        self._socket, self._sink = packets, sink
        self._read_again()
        self._flush_input()

    def stop(self) -> None:
        """End it, whoever is still there. May be called twice."""
        if self._socket is not None and self._sink is not None:
            if self._reading:
                self._loop.remove_reader(self._socket.fileno())
            if self._writing:
                self._loop.remove_writer(self._sink.fileno())
            self._reading = self._writing = False
            self._sink.close()
            self._socket.close()
            self._socket = self._sink = None
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
        if data:
            self._input.append(memoryview(data))
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
        sink = self._sink
        if sink is None:
            return
        try:
            while self._input:
                data = self._input[0]
                taken = sink.write(data)
                self._input_bytes -= taken
                if taken < len(data):
                    self._input[0] = data[taken:]
                else:
                    self._input.popleft()
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(sink.fileno(), self._flush_input)
            return
        except OSError:  # the process's end of it has gone; its output may still be on the way
            self._input.clear()
            self._input_bytes = 0
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sink.fileno())
        if self._input_bytes <= MAX_INPUT_BYTES // 2:
            self._client.resume_reading()
        if self._leaving:
            self.stop()
            return
        if self._input_ended and not self._input_closed and self._choice.stdin:
            self._input_closed = True
            try:
                sink.end()
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
