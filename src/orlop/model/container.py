"""Containers: what was asked for (`ContainerConfig`, `HostConfig`), and what the daemon remembers (`Container`).

All values are frozen; a change of state is a new value. Byte sizes are ints, 0 meaning "not limited" unless a field
says otherwise; times are nanoseconds since the epoch, 0 meaning "never".
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from orlop.model.mount import Mount, MountRequest
from orlop.model.network import NetworkAttachment
from orlop.model.value import dataclass


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """The process to run and how it presents itself. After create this is merged with the image's defaults."""

    image: str = ""  # as the user wrote it
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()  # NAME=value
    user: str = ""  # name|uid[:group|gid]
    workdir: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    stop_signal: str = ""
    stop_timeout_seconds: int | None = None
    volumes: tuple[str, ...] = ()  # destinations of anonymous volumes
    exposed_ports: tuple[str, ...] = ()
    network_disabled: bool = False
    mac_address: str = ""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    name: str = "no"  # no, always, unless-stopped, on-failure
    maximum_retry_count: int = 0


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str  # nofile, nproc, ...
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Device:
    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class Resources:
    memory_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swap_bytes: int = 0  # memory + swap; -1 = unlimited
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0  # 0 or -1 = unlimited
    oom_kill_disable: bool = False


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What the host grants the container. Named as in the field; the wire's spelling lives in orlop.docker."""

    mounts: tuple[MountRequest, ...] = ()  # -v and --mount, in the order given
    tmpfs: Mapping[str, str] = field(default_factory=dict)  # destination -> options
    volumes_from: tuple[str, ...] = ()
    volume_driver: str = ""
    network_mode: str = "default"  # default, bridge, host, none, container:<id>
    auto_remove: bool = False
    restart_policy: RestartPolicy = RestartPolicy()
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    readonly_rootfs: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    resources: Resources = Resources()
    devices: tuple[Device, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    userns_mode: str = ""
    cgroup_parent: str = ""
    security_options: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    shm_size_bytes: int = 0  # 0 = 64 MiB
    init: bool = False
    oom_score_adj: int = 0
    runtime: str = ""
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)
    masked_paths: tuple[str, ...] | None = None  # None = the default list
    readonly_paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ContainerWish:
    """A request to create a container, after translation from the wire and before anything was looked up."""

    config: ContainerConfig
    host: HostConfig
    name: str = ""  # "" = the daemon picks one
    client_view: str = "{}"  # the edge's own JSON of the request, kept and echoed by inspect; opaque to the engine


@dataclass(frozen=True, slots=True)
class Status:
    """The changing part of a container."""

    state: ContainerState = ContainerState.CREATED
    pid: int = 0
    supervisor_pid: int = 0  # conmon's
    supervisor_started: int = 0  # its start time in clock ticks (/proc/<pid>/stat, field 22): proof against pid reuse
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at_ns: int = 0
    finished_at_ns: int = 0
    restart_count: int = 0
    starting: bool = False  # its process exists, and whether it was let go is known only to the runtime
    frozen_for: str = ""  # it stands still, paused or not: until its storage is back, or while a volume is moved
    comes_back: str = ""  # it was stopped for that reason, by the daemon, which starts it again
    stopped_by_user: bool = False  # keeps `unless-stopped` and `always` from starting it again


@dataclass(frozen=True, slots=True)
class Container:
    id: str  # 64 hex
    name: str  # without a leading slash
    created_at_ns: int
    image_id: str  # sha256:...
    config: ContainerConfig  # merged with the image's
    host: HostConfig
    layer_id: str  # the writable layer
    mounts: tuple[Mount, ...] = ()  # sorted by destination
    path: str = ""  # the program and its arguments, as run
    args: tuple[str, ...] = ()
    client_view: str = "{}"
    status: Status = Status()
    network: NetworkAttachment | None = None

    @property
    def is_running(self) -> bool:
        return self.status.state in (ContainerState.RUNNING, ContainerState.PAUSED)

    @property
    def is_frozen(self) -> bool:
        """By its storage; its user's pause is a state."""
        return bool(self.status.frozen_for)

    def needs_image(self, image_id: str) -> bool:
        """Made from it, or with it mounted."""
        return self.image_id == image_id or any(mount.image_id == image_id for mount in self.mounts)


def with_status(container: Container, **changes: Any) -> Container:
    """The container with these fields of its status changed."""
    return dataclasses.replace(container, status=dataclasses.replace(container.status, **changes))


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One difference between a container's file system and its image's (`docker diff`)."""

    path: str
    kind: int  # 0 modified, 1 added, 2 deleted
