"""Do mounts answer? Asked again and again, at the price of a line through a pipe.

A look at a mount whose server is gone sleeps in the kernel, and with it whoever looks. So a child looks. One that gets
no answer stays with the mount that it asked, and another takes its place: when it does get one, the mount is back, and
meanwhile nobody else is sent after it.
"""

import errno
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import field
from pathlib import Path

from orlop.model.value import dataclass

_LOOKER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("mount_looker.py")))
READER = (*_LOOKER, "read")
_PATIENCE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Answer:
    """`waiting_seconds` above 0: there is none yet, for so long."""

    errno: int = 0  # 0: it was seen
    waiting_seconds: float = 0.0


@dataclass(slots=True)
class _Looker:
    child: "subprocess.Popen[bytes]"
    since: float = field(default_factory=time.monotonic)

    def ask(self, path: str) -> None:
        assert self.child.stdin
        self.since = time.monotonic()
        self.child.stdin.write(os.fsencode(path).hex().encode() + b"\n")
        self.child.stdin.flush()

    def answer(self, seconds: float) -> Answer:
        """Raises OSError when the child is gone."""
        assert self.child.stdout
        poller = select.poll()
        poller.register(self.child.stdout, select.POLLIN)
        if not poller.poll(seconds * 1000):
            return Answer(waiting_seconds=time.monotonic() - self.since)
        line = self.child.stdout.readline()
        if not line:
            raise OSError(errno.ECHILD, "the process that looks at mounts has ended")
        return Answer(int(line))

    def end(self) -> None:
        """Not waited for: where even SIGKILL has to wait for the server, so would we. Popen reaps it later."""
        assert self.child.stdin
        assert self.child.stdout
        self.child.kill()
        self.child.stdin.close()
        self.child.stdout.close()


class MountLooks:
    """Thread-safe."""

    def __init__(self, command: tuple[str, ...] = _LOOKER) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._idle: list[_Looker] = []
        self._waiting: dict[str, _Looker] = {}  # by the path that gives no answer

    def look(self, path: str, seconds: float = _PATIENCE_SECONDS) -> Answer:
        with self._lock:
            looker = self._waiting.pop(path, None)
            is_asked = looker is not None
            looker = looker or (self._idle.pop() if self._idle else None)
        looker = looker or _Looker(self._start())
        try:
            if not is_asked:
                looker.ask(path)
            answer = looker.answer(seconds)
        except OSError:
            looker.end()
            raise
        with self._lock:
            if answer.waiting_seconds:
                self._waiting[path] = looker
            elif not self._idle:
                self._idle.append(looker)
            else:
                looker.end()
        return answer

    def keep_only(self, paths: Collection[str]) -> None:
        """Nobody asks for others any more."""
        with self._lock:
            for path in [path for path in self._waiting if path not in paths]:
                self._waiting.pop(path).end()

    def close(self) -> None:
        self.keep_only(())
        with self._lock:
            while self._idle:
                self._idle.pop().end()

    def _start(self) -> "subprocess.Popen[bytes]":
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, cwd="/")
