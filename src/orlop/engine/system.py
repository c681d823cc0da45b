"""Facts about the daemon as a whole: info, disk usage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SystemInfo:
    id: str
    name: str  # the host's
    data_root: str
    layer_driver: str
    layer_driver_status: tuple[tuple[str, str], ...]
    containers: int
    running: int
    paused: int
    stopped: int
    images: int
    kernel_version: str
    operating_system: str
    os_version: str
    architecture: str
    cpus: int
    memory_bytes: int
    runtime: str
    runtimes: Mapping[str, str]  # name -> path
    volume_drivers: tuple[str, ...]
    network_drivers: tuple[str, ...]
    cgroup_driver: str
    cgroup_version: str
    security_options: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()  # operations whose clean-up failed and will be tried again
    labels: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


class System:
    def info(self) -> SystemInfo:
        raise NotImplementedError

    def ping(self) -> None:
        """Raises Unavailable where the daemon cannot serve."""

    def disk_usage(self, kinds: Sequence[str]) -> "DiskUsage":
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class DiskUsage:
    layers_bytes: int
    images: tuple[tuple[str, int, int], ...] = ()  # id, size, containers
    containers: tuple[tuple[str, int, int], ...] = ()  # id, writable bytes, rootfs bytes
    volumes: tuple[tuple[str, int, int], ...] = ()  # name, size, references
