"""What a runtime driver is.

Words. A *bundle* is all a container needs to run, with every name resolved: a root file system that is mounted, host
paths, numeric ids. The *supervisor* is the process that outlives the daemon, holds the container's terminal and
pipes, writes its log and its exit code (conmon).

Life of a container: `create` (supervisor and process exist, the process waits) -> `start` -> it exits by itself or by
`signal` -> `delete`. An exec: `start_exec` in a running container -> it exits.

Who calls. The engine, from its worker threads, for one container at a time under that container's lock. A repeated
call with the same wish is a success: deleting what is gone, pausing what is paused. `watch` tells of each exit once,
also of those that happened while the daemon was away.

Errors. NotFound for a program that is not in the container ("executable file not found"), Forbidden for one that is
not executable ("permission denied"): the docker CLI makes exit codes 127 and 126 of those texts. HostFailure for
everything else that the runtime says. Unavailable when the runtime or the supervisor is not installed.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol, runtime_checkable

from orlop.model.container import Device, Resources, Ulimit
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class BundleMount:
    """A mount of the OCI runtime spec."""

    destination: str
    source: str
    type: str = "bind"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """A process in a container: its first one, or an exec."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    tty: bool = False
    console_height: int = 0
    console_width: int = 0
    stdin: bool = False
    stdin_once: bool = False  # close the process's stdin when the attached client leaves
    cap_add: tuple[str, ...] = ()  # as the user wrote them (NET_ADMIN, CAP_SYS_TIME, ALL), on top of Docker's default
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    privileged: bool = False
    rlimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    container_id: str
    name: str
    log_path: Path | None  # supervisor's log (k8s-file format), appended to; None = output is not kept
    rootfs: Path
    readonly_rootfs: bool
    process: Process
    hostname: str
    domainname: str = ""
    mounts: tuple[BundleMount, ...] = ()  # after the defaults (/proc, /dev, ...), in the order to mount
    shm_size_bytes: int = 64 << 20
    resources: Resources = Resources()
    devices: tuple[Device, ...] = ()
    all_devices: bool = False  # every device may be used, though its node is not made
    sysctls: Mapping[str, str] = field(default_factory=dict)
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    seccomp: str = "default"  # default, unconfined, or a profile: JSON in Docker's format
    network_namespace: str = ""  # path to join; "host"; "" = a new one with nothing but lo
    pid_namespace: str = ""  # ditto
    ipc_namespace: str = ""
    uts_namespace: str = ""
    cgroup_parent: str = ""
    init: bool = False  # a small init as process 1 that reaps zombies and passes signals on
    log_max_bytes: int = 0  # 0 = unlimited; the log starts again from nothing when it gets larger
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StartedProcess:
    pid: int
    supervisor_pid: int
    supervisor_started: int  # /proc/<pid>/stat field 22


@dataclass(frozen=True, slots=True)
class StartedExec:
    process: StartedProcess
    attached: socket.socket | None  # see Runtime.attach; the caller closes it


@dataclass(frozen=True, slots=True)
class Exit:
    container_id: str
    exec_id: str  # "" for the container's first process
    exit_code: int
    oom_killed: bool
    at_ns: int
    error: str = ""  # why the exit code is not the process's own: its supervisor died and it was killed


ExitListener = Callable[[Exit], None]


class Runtime(Protocol):
    """Every `exec_id` is the caller's, unique within the container, and fit for a file name."""

    @property
    def name(self) -> str:
        """crun or runc."""

    @property
    def version(self) -> str: ...

    def shortfalls(self, resources: Resources, rlimits: Sequence[Ulimit]) -> Sequence[str]:
        """What of these wishes this host cannot give and `create` leaves out or lowers, as sentences for the user.
        Malformed for what can never be given here: a CPU that there is not."""

    def create(self, bundle: Bundle) -> StartedProcess: ...

    def start(self, container_id: str) -> None: ...

    def signal(self, container_id: str, pid: int, signal_number: int) -> None:
        """To the container's first process. NotFound when it has gone."""

    def pause(self, container_id: str) -> None: ...

    def resume(self, container_id: str) -> None: ...

    def delete(self, container_id: str) -> None:
        """Kill what is left, remove cgroup and state. Success when nothing is there."""

    def list_containers(self) -> Sequence[str]:
        """Ids the runtime has state for."""

    def is_alive(self, process: StartedProcess) -> bool:
        """The supervisor lives, so the container's process does."""

    def is_started(self, container_id: str) -> bool:
        """False while `create` was done and `start` was not: what a daemon that died in between leaves."""

    def exit_of(self, container_id: str, exec_id: str = "") -> Exit | None:
        """The recorded exit of a container's first process or of an exec, if it has ended. None also after a reboot,
        which clears what the supervisor wrote."""

    def attach(self, container_id: str, exec_id: str = "") -> socket.socket:
        """A connected SOCK_SEQPACKET socket to the supervisor. Packets read from it start with one byte, 2 = stdout,
        3 = stderr; what is written to it goes to the process's stdin; shutdown(SHUT_WR) is end of input.

        A packet read is at most 8193 bytes. A packet written must be at most 32768, or its rest is lost. Who does not
        read holds the process's output back."""

    def resize(self, container_id: str, height: int, width: int, exec_id: str = "") -> None: ...

    def processes(self, container_id: str) -> Sequence[int]:
        """Host pids in the container's cgroup."""

    def start_exec(self, container_id: str, exec_id: str, process: Process, attach: bool) -> StartedExec:
        """Another process in a running container. With `attach` the socket is connected before the process starts, so
        that not a byte of its output is lost."""

    def forget_exec(self, container_id: str, exec_id: str) -> None:
        """Drop what is kept of an exec that has ended. `delete` does so for all execs of the container."""

    def watch(self, container_id: str, process: StartedProcess, listener: ExitListener, exec_id: str = "") -> None:
        """Call `listener` once when the process has exited, from a thread of the driver's, after its exit code and
        last output are recorded."""


@runtime_checkable
class DirectInput(Protocol):
    """The ability to write to a process's standard input past its supervisor."""

    def open_input(self, container_id: str, packets: socket.socket, exec_id: str = "") -> int:
        """A descriptor to write to, not blocking, the caller's to close; -1 where there is none: then the input goes by
        `packets`, what `attach` gave. Its end is said there in any case, after this descriptor was closed."""


@runtime_checkable
class Freezing(Protocol):
    """The ability to let a container stand still whatever its processes wait for. It is `pause` that does not wait:
    a process that sleeps in the kernel stops when it wakes."""

    def freeze(self, container_id: str) -> None:
        """Frozen, or gone, already is success. Raises Unsupported where the kernel cannot."""

    def thaw(self, container_id: str) -> None: ...

    def is_still(self, container_id: str) -> bool:
        """Whether all of its processes stand still by now. One that is gone does."""
