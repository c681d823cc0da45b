"""Facts about the daemon as a whole."""

import os
import platform
import socket
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.container_records import ContainerRecords
from orlop.engine.executor import Executor
from orlop.engine.images import Images
from orlop.model.container import ContainerState
from orlop.model.value import dataclass


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
    runtimes: Mapping[str, str]  # name -> version
    volume_drivers: tuple[str, ...]
    network_drivers: tuple[str, ...]
    cgroup_driver: str
    cgroup_version: str
    security_options: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()  # operations whose clean-up failed and will be tried again
    labels: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the composition root knows and does not change while the daemon runs."""

    id: str
    data_root: str
    runtime: str
    runtimes: Mapping[str, str]
    volume_drivers: Iterable[str]  # those of the moment, whenever it is gone through
    network_drivers: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class System:
    def __init__(
        self,
        facts: Facts,
        records: ContainerRecords,
        images: Images,
        layers: LayerDriver,
        executor: Executor,
    ) -> None:
        self._facts = facts
        self._records = records
        self._images = images
        self._layers = layers
        self._executor = executor

    def info(self) -> SystemInfo:
        states = [container.status.state for container in self._records.all()]
        running = sum(state in (ContainerState.RUNNING, ContainerState.RESTARTING) for state in states)
        paused = states.count(ContainerState.PAUSED)
        release = _os_release()
        facts = self._facts
        return SystemInfo(
            id=facts.id,
            name=socket.gethostname(),
            data_root=facts.data_root,
            layer_driver=self._layers.name,
            layer_driver_status=tuple(self._layers.status()),
            containers=len(states),
            running=running,
            paused=paused,
            stopped=len(states) - running - paused,
            images=self._images.count(),
            kernel_version=platform.release(),
            operating_system=release.get("PRETTY_NAME", "Linux"),
            os_version=release.get("VERSION_ID", ""),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            runtime=facts.runtime,
            runtimes=facts.runtimes,
            volume_drivers=tuple(facts.volume_drivers),
            network_drivers=facts.network_drivers,
            cgroup_driver="cgroupfs",
            cgroup_version="2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "1",
            security_options=("name=seccomp,profile=builtin",),
            warnings=facts.warnings,
            unfinished=tuple(self._executor.stuck),
        )


def _os_release() -> dict[str, str]:
    """/etc/os-release as os-release(5) has it."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key: value.strip("\"'") for key, _, value in pairs}
