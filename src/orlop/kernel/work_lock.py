"""Whether programs that somebody started are still at work, also when who started them is gone.

A process that is killed leaves the programs that it waited for: a mkfs, a login, a mount go on, and end later. Whoever
comes next must not look before that: what it finds would change under it. So each of them is born with the descriptor
of a file that is locked. The kernel lets go of the lock when the last of them has ended, however that came.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_LOOK_SECONDS = 0.05
_held: ContextVar[tuple[int, ...]] = ContextVar("held", default=())


@contextmanager
def work_on(path: Path) -> Iterator[None]:
    """What this thread runs meanwhile (run_within, mount_within) is at work on it. Anybody else may be, too."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        token = _held.set((fd,))
        try:
            yield
        finally:
            _held.reset(token)
    finally:
        os.close(fd)


def handed_on() -> tuple[int, ...]:
    """What a program is to be born with (Popen's `pass_fds`)."""
    return _held.get()


def wait_for_work(path: Path, seconds: float) -> None:
    """Nobody is at work on it when this returns. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    fd = _open(path)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), str(path)) from None
                time.sleep(_LOOK_SECONDS)
            else:
                return
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
