"""A terminal with a program in it, as a person at a keyboard has it."""

import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from support.daemon import read_until


class Terminal:
    """Start `command` with a terminal of its own as its controlling one. Close it, or use it as a context manager."""

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], rows: int = 24, columns: int = 80
    ) -> None:
        self._master, self._slave = os.openpty()
        self.resize(rows, columns)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._master)
            os.login_tty(self._slave)
            os.execvpe(str(command[0]), [str(word) for word in command], dict(environment))  # does not return
        self._reader = os.fdopen(self._master, "rb", buffering=0)
        self._unread = b""
        self._status: int | None = None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._slave)
        self._reader.close()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, wanted: str, seconds: float = 20) -> str:
        """What it says up to that, and no further: what came in the same piece is for the next who reads."""
        said = read_until(self._reader, wanted.encode(), seconds, self._unread)
        end = said.index(wanted.encode()) + len(wanted.encode())
        self._unread = said[end:]
        return said[:end].decode(errors="replace")

    def resize(self, rows: int, columns: int) -> None:
        """The program gets SIGWINCH, as when a window is pulled."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 20) -> int:
        """The exit status; negative for a signal that killed it."""
        deadline = time.monotonic() + seconds
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
                break
            assert time.monotonic() < deadline, f"it did not end in {seconds} seconds"
            time.sleep(0.01)
        assert self._status is not None
        return self._status
