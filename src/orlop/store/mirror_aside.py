"""The receiver of a mirror on this host, in a process of its own: what it writes to may come to hang, and then only it
hangs. It dies with the daemon."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from orlop.archive.child_process import start_child
from orlop.errors import OrlopError
from orlop.kernel.process import die_with_parent
from orlop.store.mirror_receiver import receive

_ENDING_SECONDS = 1.0


class ReceiverAside:
    """`stream` leads to it, where no other one is given that does. The target stays the caller's, and may be closed at
    once; so may a stream that was given."""

    def __init__(self, target_fd: int, given: socket.socket | None = None) -> None:
        self._is_closed = False
        self.stream, theirs = (given, given.dup()) if given is not None else socket.socketpair()
        with theirs:
            try:
                self._process = start_child(__name__, [theirs.fileno(), target_fd])
            except BaseException:
                if given is None:
                    self.stream.close()
                raise
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdout.close()  # all that it has to say it says to the sender
            with suppress(BrokenPipeError), self._process.stdin as task:
                task.write(json.dumps({"stream": theirs.fileno(), "target": target_fd}).encode())

    def counted(self) -> str:
        """Changes as long as it gets on."""
        with suppress(OSError):
            return Path(f"/proc/{self._process.pid}/io").read_text()
        return ""

    def wait(self) -> bool:
        """Until it has ended: whether the sender said that it was all."""
        return self._process.wait() == 0

    def close(self) -> None:
        """It ends, if it has not. Called again is success."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self.stream.close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            # Not waited for any longer: where even SIGKILL has to wait for the storage, so would we. Popen reaps it.
            self._process.kill()


def main(parent: int) -> None:
    """The child's side."""
    die_with_parent(parent)
    os.umask(0)
    task = json.load(sys.stdin)
    with socket.socket(fileno=task["stream"]) as stream:
        try:
            receive(stream, task["target"])
        except (OSError, OrlopError):  # what went wrong the sender was told; or it has gone
            sys.exit(1)
