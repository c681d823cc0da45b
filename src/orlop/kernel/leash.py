"""A program that lives no longer than a file says, whatever becomes of whoever keeps that file up to date.

    python -m orlop.kernel.leash FILE COMMAND...

FILE holds the time until which COMMAND may live (CLOCK_BOOTTIME, nanoseconds). This process, its keeper, has COMMAND
as its child and looks at FILE several times a second. The promise does not rest on that looking:

- A timer of the kernel kills the keeper with SIGKILL when the time has come. The kernel does that to a process that
  hangs, or that is stopped, too; and only a longer time that was read from FILE puts it off.
- The kernel kills COMMAND with SIGKILL when its keeper ends, however that ends.

So a daemon that was killed, a keeper that was stopped and a program that hangs come to the same: at that time the
program is gone. What it had handed to TCP goes with it: its connections are set to be reset when they close, or the
kernel would go on for minutes to deliver what cannot be taken back.
"""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from orlop.kernel.libc import LIBC, check
from orlop.kernel.process import die_with_parent

_LOOK_SECONDS = 0.2
_CLOCK_BOOTTIME = 7
_SIGEV_SIGNAL = 0
_TIMER_ABSTIME = 1
_SYS_PIDFD_GETFD = 438
_LINGER_NOT = b"\1\0\0\0\0\0\0\0"  # struct linger: on, for 0 s


def leash_command(leash: Path, argv: tuple[str, ...]) -> tuple[str, ...]:
    return (sys.executable, "-m", __name__, str(leash), *argv)


def leash_environment() -> dict[str, str]:
    """What the keeper needs to find its own code by; it does not hand it on."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class _Event(ctypes.Structure):
    """struct sigevent"""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("padding", ctypes.c_char * 48),
    ]


class _Times(ctypes.Structure):
    """struct itimerspec"""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class DeathTimer:
    """Kills this process at a time of CLOCK_BOOTTIME, by the kernel."""

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        event = _Event(signal=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        check(LIBC.timer_create(_CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)), "timer_create")

    def set(self, at_ns: int) -> None:
        times = _Times(at_s=at_ns // 1_000_000_000, at_ns=at_ns % 1_000_000_000)
        check(LIBC.timer_settime(self._timer, _TIMER_ABSTIME, ctypes.byref(times), None), "timer_settime")


def read_leash(path: Path) -> int:
    """0 when it is gone or makes no sense."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


class ResetConnections:
    """Of a process: what it did not get rid of yet is thrown away when it ends."""

    def __init__(self, pid: int) -> None:
        self._pidfd = os.pidfd_open(pid)
        self._fds = Path(f"/proc/{pid}/fd")
        self._known: set[str] = set()

    def look(self) -> None:
        with suppress(OSError):  # it ends
            found = {entry: str(entry.readlink()) for entry in self._fds.iterdir()}
            sockets = {link: entry for entry, link in found.items() if link.startswith("socket:")}
            for link in sockets.keys() - self._known:
                self._set(int(sockets[link].name))
            self._known = set(sockets)

    def _set(self, number: int) -> None:
        fd = check(LIBC.syscall(_SYS_PIDFD_GETFD, self._pidfd, number, 0), "pidfd_getfd")
        with socket.socket(fileno=fd) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)


def keep(leash: Path, argv: list[str]) -> int:
    """The exit status of COMMAND."""
    until = read_leash(leash)
    if until <= time.clock_gettime_ns(time.CLOCK_BOOTTIME):
        print("there is no time left to write in", file=sys.stderr)
        return 1
    timer = DeathTimer()
    timer.set(until)
    own = os.getpid()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # This process has one thread and ends with its child.
    child = subprocess.Popen(argv, env=environment, preexec_fn=lambda: die_with_parent(own))  # noqa: PLW1509
    signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    connections = ResetConnections(child.pid)
    ended = select.poll()
    ended.register(os.pidfd_open(child.pid), select.POLLIN)
    while not ended.poll(int(_LOOK_SECONDS * 1000)):
        connections.look()
        now = read_leash(leash)
        if not now:
            os.kill(own, signal.SIGKILL)
        if now > until:
            until = now
            timer.set(until)
    return child.wait()


def main() -> None:
    code = keep(Path(sys.argv[1]), sys.argv[2:])
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
