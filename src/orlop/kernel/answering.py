"""Does the storage under a path answer at all?

stat(2) on a server that is gone sleeps in the kernel, and a thread that sleeps there cannot be stopped; not even the
end of the process stops it. So somebody else's path is looked at first by a child that can be left behind.

Everybody who wants to know of the same path at the same time waits for the same child. Of a path that gave no answer a
moment ago nobody waits that long again.
"""

import errno
import os
import select
import subprocess
import threading
import time

from orlop.model.value import dataclass

_SOON_SECONDS = 2.0  # the patience with a path that ...
_LATELY_SECONDS = 60.0  # ... gave no answer so long ago


@dataclass(slots=True)
class _Look:
    child: "subprocess.Popen[bytes]"
    began: float
    askers: int = 0


class Answering:
    """Thread-safe."""

    def __init__(self, command: tuple[str, ...] = ("stat", "-L", "--")) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._looks: dict[str, _Look] = {}
        self._silent: dict[str, float] = {}  # since when

    def exists(self, path: str, seconds: float) -> bool:
        """What a look at the path saw, links followed. Raises TimeoutError when it did not come back in time."""
        with self._lock:
            look = self._looks.get(path)
            if look is None:
                quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                child = subprocess.Popen([*self._command, path], **quiet)  # type: ignore[call-overload]
                look = self._looks[path] = _Look(child, time.monotonic())
            look.askers += 1
            lately = time.monotonic() - self._silent.get(path, -_LATELY_SECONDS) < _LATELY_SECONDS
        patience = min(seconds, _SOON_SECONDS) if lately else seconds
        answered = _ends_within(look.child.pid, max(0.0, look.began + patience - time.monotonic()))
        with self._lock:
            look.askers -= 1
            if self._looks.get(path) is look:
                # Whoever comes now looks anew: what was true when we began need not be so any more.
                del self._looks[path]
            if not answered:
                self._note_silence(path)
            if not answered and not look.askers:
                # Not waited for: where even SIGKILL has to wait for the server, so would we. Popen reaps it later.
                look.child.kill()
        if answered:
            return look.child.wait() == 0
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {patience:g} s", path)

    def _note_silence(self, path: str) -> None:
        now = time.monotonic()
        self._silent = {key: since for key, since in self._silent.items() if now - since < _LATELY_SECONDS}
        self._silent[path] = now


def _ends_within(pid: int, seconds: float) -> bool:
    fd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
    finally:
        os.close(fd)


_HERE = Answering()


def require_answer(path: str, seconds: float) -> bool:
    """Whether the path is there, once a look at it came back. Raises TimeoutError when it did not in time."""
    return _HERE.exists(path, seconds)
