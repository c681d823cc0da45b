"""The receiver of a mirror on this host, in a process of its own: what it writes to may come to hang, and then only it
hangs. It dies with the daemon."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from orlop.errors import OrlopError
from orlop.kernel.process import die_with_parent
from orlop.store.mirror_receiver import receive

_START = "import sys; sys.path[:] = sys.argv[2:]; from orlop.store.mirror_aside import main; main(int(sys.argv[1]))"
_ENDING_SECONDS = 1.0


class ReceiverAside:
    """`stream` leads to it. The target stays the caller's, and may be closed at once."""

    def __init__(self, target_fd: int) -> None:
        self._is_closed = False
        self.stream, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, str(os.getpid()), *filter(None, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), target_fd],
                start_new_session=True,  # a Ctrl-C in the daemon's terminal is the daemon's business
            )
            assert self._process.stdin is not None
            with suppress(BrokenPipeError), self._process.stdin as task:
                task.write(json.dumps({"stream": theirs.fileno(), "target": target_fd}).encode())

    def counted(self) -> str:
        """Changes as long as it gets on."""
        with suppress(OSError):
            return Path(f"/proc/{self._process.pid}/io").read_text()
        return ""

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
    # What went wrong the sender was told; or it has gone.
    with socket.socket(fileno=task["stream"]) as stream, suppress(OSError, OrlopError):
        receive(stream, task["target"])
