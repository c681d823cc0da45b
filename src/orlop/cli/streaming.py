"""Standard input, output and error joined to a connection that was taken over for attach or exec.

One loop over poll: no threads, so that signals, the terminal's size and the end of any stream are seen in one place.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from orlop.cli.terminal import DetachKeys
from orlop.client.frames import STDERR, FrameReader

_READ_BYTES = 64 * 1024
_WRITTEN = {STDERR: 2}  # all other streams go to 1


class SignalSource(Protocol):
    """Signals as bytes on a descriptor, such as Signals below."""

    def fileno(self) -> int: ...

    def handle(self) -> None: ...


class Stream:
    """The join of one connection. `framed` without a terminal; `detach` watches what is typed."""

    def __init__(
        self,
        connection: socket.socket,
        received: bytes = b"",
        *,
        framed: bool,
        stdin: bool,
        outputs: frozenset[str] = frozenset({"stdout", "stderr"}),
        detach: DetachKeys | None = None,
        signals: SignalSource | None = None,
    ) -> None:
        self._connection = connection
        self._received = received
        self._frames = FrameReader() if framed else None
        self._reads_stdin = stdin
        self._outputs = outputs
        self._detach = detach
        self._signals = signals
        self._unsent = b""
        self._ends_input = False

    def pump(self) -> bool:
        """Until the other side ends the connection (True) or the user detaches (False)."""
        if self._received:
            self._write_out(self._received)
        poll = select.poll()
        self._connection.setblocking(False)
        while True:
            poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            if self._reads_stdin and not self._unsent:
                poll.register(0, select.POLLIN)
            if self._signals is not None:
                poll.register(self._signals.fileno(), select.POLLIN)
            ready = dict(poll.poll())
            if self._reads_stdin:
                _unregister(poll, 0)
            if self._signals is not None and self._signals.fileno() in ready:
                self._signals.handle()
            events = ready.get(self._connection.fileno(), 0)
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._receive():
                return True
            if self._unsent:
                self._send()
            elif 0 in ready and not self._read_stdin():
                return False

    def _receive(self) -> bool:
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if data:
            self._write_out(data)
        return bool(data)

    def _write_out(self, data: bytes) -> None:
        if self._frames is None:
            if "stdout" in self._outputs:
                _write_all(1, data)
            return
        for stream, payload in self._frames.feed(data):
            if ("stderr" if stream == STDERR else "stdout") in self._outputs:
                _write_all(_WRITTEN.get(stream, 1), payload)

    def _read_stdin(self) -> bool:
        """False when the keys to detach were pressed."""
        try:
            typed = os.read(0, _READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            typed = b""  # the terminal is gone
        if not typed:
            self._reads_stdin = False
            self._ends_input = True
        elif self._detach is not None:
            typed = self._detach.filter(typed)
            if self._detach.pressed:
                return False
        self._unsent = typed
        self._send()
        return True

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
            if self._ends_input:
                self._ends_input = False
                self._connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""  # nobody reads any more; the end of the connection follows
            self._reads_stdin = False


class Signals:
    """The given signals go to `act` (by number) instead of to this process, until `restore`."""

    def __init__(self, numbers: frozenset[int], act: Callable[[int], None]) -> None:
        self._act = act
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in numbers}

    def fileno(self) -> int:
        return self._read

    def handle(self) -> None:
        try:
            numbers = os.read(self._read, 256)
        except BlockingIOError:
            return
        for number in numbers:
            if number in self._before:
                self._act(number)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)


def _unregister(poll: "select.poll", descriptor: int) -> None:
    try:
        poll.unregister(descriptor)
    except KeyError:
        return


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
