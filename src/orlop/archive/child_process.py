"""A task in a child process: how it is started, what goes down and what comes up.

One process a task, spawned (never forked from a threaded daemon), with an interpreter that starts without site and
environment. The task goes down as a line of JSON; progress, then the result or the error come up as lines; bytes that
a task writes (a rebuilt tar) come up through a pipe of their own. An error arrives as the class it was raised as. The
child dies with the daemon: the kernel sends it SIGKILL.
"""

import fcntl
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, BinaryIO

from orlop import errors
from orlop.archive.stalling import Stall
from orlop.errors import HostFailure, OrlopError
from orlop.kernel.process import die_with_parent

_START = (
    "import sys; sys.path[:] = sys.argv[3:]; from importlib import import_module; "
    "import_module(sys.argv[2]).main(int(sys.argv[1]))"
)
_CHUNK_BYTES = 1 << 20
_ENDING_SECONDS = 1.0

Tasks = Mapping[str, Callable[..., dict[str, object]]]


def run_task(
    module: str,
    task: Mapping[str, object],
    out: BinaryIO | None,
    progress: Callable[[Any], None] | None,
    pass_fds: Sequence[int] = (),
    stall: Stall | None = None,
) -> dict[str, Any]:
    """Do `task` in `module`, whose `main` is `serve` with a table of tasks. Descriptors in `pass_fds` have the same
    numbers there. When `progress` or `out` raises, the child is killed. With `stall` (and no `out`) it is left behind,
    killed, and TimeoutError raised, once it does not get on any more."""
    read_end, write_end = os.pipe()
    with suppress(OSError):  # a convenience, and limited for those who are not root
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
    try:
        process = start_child(module, [write_end, *pass_fds])
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    stalled = False
    assert process.stdin and process.stdout
    try:
        with suppress(BrokenPipeError):  # it has died: `_result` says so
            process.stdin.write(json.dumps({**task, "out": write_end}).encode() + b"\n")
            process.stdin.flush()
        if out is not None:
            while data := os.read(read_end, _CHUNK_BYTES):
                out.write(data)
        return _result(process, _lines(process, process.stdout, stall), progress)
    except TimeoutError:
        stalled = True
        raise
    finally:
        # After an error of ours (the client has gone, the disk is full) the child's work is of no use.
        process.kill()
        if stalled:
            # Not waited for: where even SIGKILL has to wait for the storage, so would we. Popen reaps it later.
            process.stdout.close()
        else:
            process.communicate()
        os.close(read_end)


def start_child(module: str, pass_fds: Sequence[int]) -> "subprocess.Popen[bytes]":
    """`main` of the module gets our process id. It dies with the thread that calls this."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, str(os.getpid()), module, *filter(None, sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,  # a Ctrl-C in the daemon's terminal is the daemon's business
    )


class Attendant:
    """A child that does one task after the other, until it is closed. Not thread-safe."""

    def __init__(self, module: str, pass_fds: Sequence[int] = (), stall: Stall | None = None) -> None:
        """`main` of the module is `serve_each` with a table of tasks."""
        self._process = start_child(module, pass_fds)
        assert self._process.stdout
        self._answers = _lines(self._process, self._process.stdout, stall)

    def ask(self, task: Mapping[str, object], progress: Callable[[Any], None] | None = None) -> dict[str, Any]:
        """As `run_task`. After an error it is of no use any more."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has died: `_result` says so
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        return _result(self._process, self._answers, progress, is_last=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """It ends, whatever it is doing. One that hangs where even SIGKILL has to wait is left behind; Popen reaps it
        later."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()


def _lines(process: "subprocess.Popen[bytes]", answers: IO[bytes], stall: Stall | None) -> Iterator[bytes]:
    if stall is None:
        yield from answers
        return
    poller = select.poll()
    poller.register(answers.fileno(), select.POLLIN | select.POLLHUP)
    said = b""
    while True:
        if not poller.poll(1000):
            stall.check(process.pid)
            continue
        data = os.read(answers.fileno(), _CHUNK_BYTES)
        if not data:
            return
        *lines, said = (said + data).split(b"\n")
        yield from lines


def _result(
    process: "subprocess.Popen[bytes]",
    answers: Iterator[bytes],
    progress: Callable[[Any], None] | None,
    is_last: bool = True,
) -> dict[str, Any]:
    for line in answers:
        answer: dict[str, Any] = json.loads(line)
        if "progress" in answer:
            if progress:
                progress(answer["progress"])
        elif "error" in answer:
            raise _as_raised(answer["error"])
        else:
            if is_last:
                process.wait()
            return dict(answer["result"])
    raise HostFailure("archive worker", f"it ended with status {process.wait()} and without an answer")


def _as_raised(facts: list[str]) -> OrlopError:
    name, *words = facts
    kind = getattr(errors, name, HostFailure)
    return kind(*words) if kind.__init__ is OrlopError.__init__ else HostFailure(*words)


def serve(parent: int, tasks: Tasks) -> None:
    """The child's side."""
    die_with_parent(parent)
    os.umask(0)
    _do(sys.stdin.readline(), tasks)


def serve_each(parent: int, tasks: Tasks) -> None:
    """The side of an `Attendant`."""
    die_with_parent(parent)
    os.umask(0)
    for line in sys.stdin:
        _do(line, tasks)


def _do(line: str, tasks: Tasks) -> None:
    task = json.loads(line)
    try:
        answer: dict[str, object] = {"result": tasks[task.pop("task")](**task)}
    except OrlopError as error:
        answer = {"error": [type(error).__name__, error.subject, error.why, error.hint]}
    except OSError as error:
        answer = {"error": ["HostFailure", "archive worker", str(error), ""]}
    say(answer)


def say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
