"""conmon, the supervisor: launching it, talking to it, reading what it leaves.

One conmon a container and one an exec, each with a directory of its own below the exec root:

    config.json      the bundle (container) or process.json (exec), for the runtime
    pid, supervisor  the pids, written by the runtime and by conmon
    attach           SOCK_SEQPACKET socket: output with a leading byte a packet, input as it is
    ctl              FIFO: "1 <height> <width>" resizes the terminal
    exit             the exit code in decimal, renamed into place before conmon ends
    oom              there once the kernel killed something for want of memory

How a launch goes. conmon forks and its parent half ends at once, so it is nobody's child and lives on without the
daemon. It runs the runtime, then reports on the pipe _OCI_SYNCPIPE: {"data": <pid>}, or a negative number and what
the runtime said. For an exec with `attach` it first says on _OCI_ATTACHPIPE that its socket listens and waits for a
byte on _OCI_STARTPIPE: the connection exists before the process does.
"""

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from orlop.drivers.runtimes.call import ENVIRONMENT, ends_within, is_readable
from orlop.errors import Conflict, HostFailure, NotFound, Unavailable
from orlop.kernel.answering import require_answer
from orlop.kernel.process import start_ticks
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

# A hung runtime (frozen cgroup, dead NFS root) must not hold a worker for ever.
_LAUNCH_SECONDS = 120.0
# After so long the storage that it has to mount is looked at, and where that does not answer, nobody waits any longer.
_PATIENCE_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
# A supervisor whose process was killed ends by itself once it has written the rest of the output.
_FAREWELL_SECONDS = 5.0
_ABANDON_SECONDS = 3.0
_TAKEN_SECONDS = 0.2
_LOOK_AGAIN_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of one supervised process."""

    directory: Path
    container_id: str

    @property
    def config(self) -> Path:
        return self.directory / "config.json"

    @property
    def process(self) -> Path:
        return self.directory / "process.json"

    @property
    def pid_file(self) -> Path:
        return self.directory / "pid"

    @property
    def supervisor_file(self) -> Path:
        return self.directory / "supervisor"

    @property
    def complaints(self) -> Path:
        """What conmon wrote to stderr before it was on its own."""
        return self.directory / "conmon.log"

    @property
    def exit_file(self) -> Path:
        return self.directory / "exit"

    @property
    def execs(self) -> Path:
        return self.directory / "execs"

    @property
    def oom_file(self) -> Path:
        return self.directory / "oom"

    def prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class Launched:
    pid: int
    supervisor_pid: int
    supervisor_started: int
    attached: socket.socket | None


class RuntimeRefused(Exception):
    """The runtime's own words on why it did not start a process."""


@dataclass(frozen=True, slots=True)
class Conmon:
    program: str
    runtime: tuple[str, ...]  # what conmon runs, and the arguments before the runtime's command
    temporary: Path  # where conmon puts its short-lived console socket

    def launch(
        self,
        place: Place,
        unique: str,
        name: str,
        log: str,
        options: Sequence[str],
        attach: bool = False,
        sources: Callable[[], Sequence[str]] = tuple,
    ) -> Launched:
        """Run conmon until it reports. RuntimeRefused with what the runtime said, Unavailable where one of the
        `sources` of its mounts does not answer. `log` is a path, "" for none."""
        with contextlib.ExitStack() as stack:
            sync = _Pipe(stack)
            pipes: dict[str, int] = {"_OCI_SYNCPIPE": sync.write_end}
            start, attached_pipe = (_Pipe(stack), _Pipe(stack)) if attach else (None, None)
            if start and attached_pipe:
                options = [*options, "--exec-attach"]
                pipes |= {"_OCI_STARTPIPE": start.read_end, "_OCI_ATTACHPIPE": attached_pipe.write_end}
                os.write(start.write_end, b"\n")  # the first go: fork at once
            if ":" in log:
                raise HostFailure(
                    f"log {log}", "conmon cannot write to a path with a colon in it", "Move the data root"
                )
            process = self._spawn(place, self._arguments(place, unique, name, log, options), pipes)
            stack.callback(_reap, process)
            sync.close_write_end()
            connection = None
            if start and attached_pipe:
                attached_pipe.close_write_end()
                start.close_read_end()
                if attached_pipe.read_line(place, sources):
                    connection = connect(place)
                    os.write(start.write_end, b"\n")  # the second go: run the runtime
            try:
                pid = _reported_pid(sync.read_line(place, sources), place)
                _reap(process)  # it leaves the supervisor's pid
                supervisor_pid = int(place.supervisor_file.read_text())
                return Launched(pid, supervisor_pid, _ticks_of(supervisor_pid), connection)
            except BaseException:
                if connection is not None:
                    connection.close()
                raise

    def _arguments(self, place: Place, unique: str, name: str, log: str, options: Sequence[str]) -> list[str]:
        return [
            self.program,
            "--api-version",
            "1",
            "-c",
            place.container_id,
            "-u",
            unique,
            "-n",
            name,
            "-r",
            self.runtime[0],
            *(f"--runtime-arg={argument}" for argument in self.runtime[1:]),
            "-b",
            str(place.directory),
            "-p",
            str(place.pid_file),
            "-P",
            str(place.supervisor_file),
            "--persist-dir",
            str(place.directory),
            "-l",
            f"k8s-file:{log}" if log else "none",
            "--full-attach",
            "--no-sync-log",
            *options,
        ]

    def _spawn(self, place: Place, arguments: Sequence[str], pipes: Mapping[str, int]) -> subprocess.Popen[bytes]:
        environment = {
            **ENVIRONMENT,
            "TMPDIR": str(self.temporary),
            "TZ": "UTC",  # the log is read by orlop.engine.logs, which counts on one width of time
            **{name: str(fd) for name, fd in pipes.items()},
        }
        with place.complaints.open("wb") as complaints:
            try:
                return subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=complaints,
                    stderr=complaints,
                    cwd=place.directory,
                    env=environment,
                    pass_fds=tuple(pipes.values()),
                    start_new_session=True,
                    umask=0o022,  # else the daemon's would be that of an exec and of directories made for mounts
                )
            except FileNotFoundError as error:
                raise Unavailable(self.program, "not installed", "Install it: apt-get install conmon") from error


def _reap(process: subprocess.Popen[bytes]) -> None:
    """conmon's parent half, which ends as soon as it has forked; unless something is very wrong."""
    if process.returncode is not None:
        return
    if not ends_within(process.pid, _FAREWELL_SECONDS):
        process.kill()
    process.wait()


class _Pipe:
    """A pipe to or from conmon whose ends are closed at most once each."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        stack.callback(self.close_read_end)
        stack.callback(self.close_write_end)

    def close_read_end(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def read_line(self, place: Place, sources: Callable[[], Sequence[str]]) -> bytes:
        """The first line, or what there is when conmon closed its end (it died). A second line may have come with it:
        the exit code of an exec that was quick."""
        data = bytearray()
        while b"\n" not in data:
            if not is_readable(self.read_end, _PATIENCE_SECONDS):
                silent = _silent_one(sources())
                if not silent and is_readable(self.read_end, _LAUNCH_SECONDS - _PATIENCE_SECONDS):
                    continue
                _abandon_quietly(place)
                if silent:
                    hint = "Bring its server back, or unmount it; everything else goes on"
                    raise Unavailable(f"bind source {silent}", "its storage gave no answer", hint)
                raise HostFailure(place.container_id, f"the runtime did not answer in {_LAUNCH_SECONDS:.0f} seconds")
            chunk = os.read(self.read_end, 65536)
            if not chunk:
                break
            data += chunk
        return bytes(data).split(b"\n", 1)[0]


def _silent_one(sources: Sequence[str]) -> str:
    """The first of these paths that does not answer, "" when all do."""
    for source in sources:
        try:
            require_answer(source, _ANSWER_SECONDS)
        except TimeoutError:
            return source
    return ""


def _abandon_quietly(place: Place) -> None:
    """The caller has a better reason to tell; what could not be killed dies when its storage answers."""
    try:
        abandon(place)
    except HostFailure as error:
        log.warning("%s", error.message)


def _reported_pid(line: bytes, place: Place) -> int:
    if not line:
        said = place.complaints.read_text(errors="replace").strip()
        raise RuntimeRefused(said or "the supervisor ended without a word")
    report = json.loads(line.decode(errors="replace"), strict=False)
    pid = int(report.get("data", report.get("pid", -1)))
    if pid < 0:
        raise RuntimeRefused(str(report.get("message", "")).strip() or f"the runtime ended with {-pid}")
    return pid


def _ticks_of(pid: int) -> int:
    """0 for a supervisor that has already ended: its process was that quick, and the exit file is there."""
    try:
        return start_ticks(pid)
    except ProcessLookupError:
        return 0


def end(place: Place) -> None:
    """See the supervisor of a killed process off: nothing writes to the directory when this returns."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
        pid = int(place.supervisor_file.read_text())
        fd = os.pidfd_open(pid)
        try:
            # The pid file may be old and the pid somebody else's; conmon's command line names the directory.
            if os.fsencode(place.directory) not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return
            if not is_readable(fd, _FAREWELL_SECONDS):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                is_readable(fd, _FAREWELL_SECONDS)
        finally:
            os.close(fd)


def abandon(place: Place) -> None:
    """Kill whoever is still at work on a launch that nobody waits for any more: conmon and the runtime that it runs.
    They may not have left a pid anywhere yet, so their command lines tell: the directory and the container's id."""
    directory, container_id = os.fsencode(place.directory), place.container_id.encode()
    deadline = time.monotonic() + _ABANDON_SECONDS
    while time.monotonic() < deadline:  # the runtime may just be starting another process
        busy = [pid for pid in _all_pids() if _is_about(pid, directory, container_id)]
        if not busy:
            return
        for pid in busy:
            _kill_if(pid, lambda pid: _is_about(pid, directory, container_id), deadline - time.monotonic())
    raise HostFailure(place.container_id, "processes that were creating it cannot be killed")


def _all_pids() -> Sequence[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_about(pid: int, directory: bytes, container_id: bytes) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return container_id in words and any(word == directory or word.startswith(directory + b"/") for word in words)


def _kill_if(pid: int, is_it: Callable[[int], bool], seconds: float) -> None:
    """The pid could have become somebody else's since it was looked at; a pidfd cannot. Waits so long for its end."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            if is_it(pid):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                is_readable(fd, max(0.0, min(seconds, _FAREWELL_SECONDS)))
        finally:
            os.close(fd)


@contextlib.contextmanager
def _beneath(directory: Path) -> Iterator[str]:
    """A short name for a directory: the path of a socket has room for 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def connect(place: Place) -> socket.socket:
    """A connection to the supervisor's attach socket. NotFound when the process has ended."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        with _beneath(place.directory) as directory:
            connection.connect(f"{directory}/attach")
    except OSError as error:
        connection.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            raise NotFound(place.container_id, "has no running process to attach to") from error
        raise
    return connection


def connect_and_wait(place: Place) -> socket.socket:
    """Like `connect`, and the supervisor knows of the client when this returns. It takes one waiting client at each
    turn of its loop and hands output to those it has taken: of two that came just before a quick program was let go,
    the second would miss what it wrote. Nothing tells a client that it was taken, but the supervisor has one more
    descriptor then. When it is too busy to be waited for, the client is connected all the same."""
    before = _count_descriptors(place)
    connection = connect(place)
    deadline = time.monotonic() + _TAKEN_SECONDS
    while 0 < _count_descriptors(place) <= before and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_SECONDS)
    return connection


def _count_descriptors(place: Place) -> int:
    """Of the supervisor; 0 when it has ended."""
    try:
        return len(os.listdir(f"/proc/{int(place.supervisor_file.read_text())}/fd"))
    except (OSError, ValueError):
        return 0


def resize(place: Place, height: int, width: int) -> None:
    """Tell the supervisor the terminal's size. Conflict when nobody reads: the process has ended."""
    try:
        fd = os.open(place.directory / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENOTDIR):
            raise Conflict(place.container_id, "is not running") from error
        raise
    try:
        os.write(fd, f"1 {height} {width}\n".encode())
    finally:
        os.close(fd)


def read_exit(place: Place) -> tuple[int, int] | None:
    """The exit code and when it was written (ns), or None."""
    try:
        with place.exit_file.open() as file:
            return int(file.read()), os.fstat(file.fileno()).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
