"""A program on a leash is gone when its time has come, whoever hangs, is stopped or was killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.kernel.leash import leash_command, leash_environment
from support.daemon import wait_for

Keep = Callable[..., "subprocess.Popen[bytes]"]


_TALK = """
import socket, struct, sys, time
talk = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while struct.unpack("ii", talk.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) != (1, 0):
    time.sleep(0.02)
talk.send(b"x")
time.sleep(99)
"""


def _in(seconds: float) -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)


def write(leash: Path, until: int) -> None:
    """At once, as whoever keeps it up to date does: half a leash is none."""
    new = leash.with_name("new")
    new.write_text(str(until))
    new.replace(leash)


@pytest.fixture
def leash(tmp_path: Path) -> Path:
    return tmp_path / "leash"


@pytest.fixture
def keep(leash: Path, needs_root: None) -> Iterator[Keep]:
    """Starts a program on the leash; the keeper."""
    started = []

    def start(seconds: float, *argv: str) -> "subprocess.Popen[bytes]":
        os.mkfifo(leash)
        environment = {**os.environ, **leash_environment()}
        started.append(subprocess.Popen(leash_command(leash, argv), env=environment))
        with leash.open("w") as waiting:  # the time counts from when the keeper reads of it, not while it starts
            until = _in(seconds)
            write(leash, until)
            waiting.write(str(until))
        return started[-1]

    yield start
    for keeper in started:
        keeper.kill()
        keeper.wait()


def _child(keeper: "subprocess.Popen[bytes]") -> int:
    """Once it is the program: stopped before that, it would never come to be bound to its keeper, nor to begin."""
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
    pid = int(wait_for("the program", lambda: children.read_text().split())[0])
    command = Path(f"/proc/{keeper.pid}/cmdline").read_bytes()
    wait_for("it to begin", lambda: Path(f"/proc/{pid}/cmdline").read_bytes() != command)
    return pid


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_ends_when_its_time_has_come(keep: Keep) -> None:
    keeper = keep(1.0, "sleep", "100")
    child = _child(keeper)
    assert keeper.wait(20) == -signal.SIGKILL
    wait_for("its end", lambda: _is_gone(child))


def test_it_ends_in_time_although_it_and_its_keeper_are_stopped(keep: Keep) -> None:
    keeper = keep(1.5, "sleep", "100")
    child = _child(keeper)
    for pid in (keeper.pid, child):
        os.kill(pid, signal.SIGSTOP)
    assert keeper.wait(20) == -signal.SIGKILL
    wait_for("its end", lambda: _is_gone(child))


def test_it_ends_with_a_keeper_that_was_killed(keep: Keep) -> None:
    keeper = keep(100, "sleep", "100")
    child = _child(keeper)
    keeper.kill()
    wait_for("its end", lambda: _is_gone(child))


def test_a_longer_leash_puts_it_off(keep: Keep, leash: Path) -> None:
    keeper = keep(1.0, "sleep", "100")
    write(leash, _in(100))
    with pytest.raises(subprocess.TimeoutExpired):
        keeper.wait(1.5)
    leash.write_text("no number")
    assert keeper.wait(20) == -signal.SIGKILL


def test_without_a_leash_it_ends_at_once(keep: Keep, leash: Path) -> None:
    keeper = keep(100, "sleep", "100")
    child = _child(keeper)
    leash.unlink()
    assert keeper.wait(20) == -signal.SIGKILL
    wait_for("its end", lambda: _is_gone(child))


def test_nothing_starts_when_the_time_is_over(keep: Keep) -> None:
    assert keep(-1, "touch", "never").wait(20) == 1


def test_it_is_told_to_end_and_its_exit_status_is_handed_on(keep: Keep) -> None:
    keeper = keep(100, "sh", "-c", "trap 'exit 7' TERM; echo > /dev/null; while :; do sleep 0.05; done")
    _child(keeper)
    wait_for("its trap", lambda: _end_by_term(keeper))
    assert keeper.wait(20) == 7


def _end_by_term(keeper: "subprocess.Popen[bytes]") -> bool:
    caught = next(
        line for line in Path(f"/proc/{_child(keeper)}/status").read_text().splitlines() if line.startswith("SigCgt")
    )
    if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
        keeper.terminate()
        return True
    return False


def test_what_it_had_handed_to_tcp_is_thrown_away_with_it(keep: Keep) -> None:
    """Or the kernel would go on to deliver it, long after somebody else got to write."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        keeper = keep(100, sys.executable, "-c", _TALK, str(server.getsockname()[1]))
        connection, _ = server.accept()
        connection.settimeout(20)
        assert connection.recv(1) == b"x"
        keeper.kill()
        with pytest.raises(ConnectionResetError), connection:
            connection.recv(1)
