"""What a running container uses now: processor, memory, processes, network, disk.

Read from the kernel's accounts of the container's cgroup and network namespace, found through its first process. What a
kernel does not count is left out.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from orlop.model.value import dataclass

CGROUPS = Path("/sys/fs/cgroup")
_NS_PER_SECOND = 1_000_000_000
_NO_LIMIT = 1 << 60  # what a v1 kernel says where no limit is set is a little below 2^63


@dataclass(frozen=True, slots=True)
class NetworkCounters:
    received_bytes: int
    received_packets: int
    received_errors: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_errors: int
    sent_dropped: int


@dataclass(frozen=True, slots=True)
class DeviceBytes:
    major: int
    minor: int
    operation: str  # read, write
    count: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    at_ns: int = 0
    cpu_ns: int = 0
    cpu_user_ns: int = 0
    cpu_kernel_ns: int = 0
    system_cpu_ns: int = 0  # of the whole host, in the same unit, for a share
    cpus: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    memory_details: Mapping[str, int] = field(default_factory=dict)
    processes: int = 0
    networks: Mapping[str, NetworkCounters] = field(default_factory=dict)
    devices: tuple[DeviceBytes, ...] = ()


def measure_usage(pid: int) -> ContainerUsage:
    """Of the container whose first process this is. All zero when it has gone."""
    at_ns = time.time_ns()
    groups = _cgroups_of(pid)
    if not groups:
        return ContainerUsage(at_ns)
    read = _read_unified if "" in groups and len(groups) == 1 else _read_split
    found = read(groups)
    memory_limit = found.get("memory_limit", 0)
    whole_memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return ContainerUsage(
        at_ns=at_ns,
        cpu_ns=found.get("cpu", 0),
        cpu_user_ns=found.get("cpu_user", 0),
        cpu_kernel_ns=found.get("cpu_kernel", 0),
        system_cpu_ns=_system_cpu_ns(),
        cpus=os.cpu_count() or 1,
        memory_bytes=found.get("memory", 0),
        memory_limit_bytes=memory_limit if 0 < memory_limit < min(_NO_LIMIT, whole_memory) else whole_memory,
        memory_details=_pairs(_memory_directory(groups) / "memory.stat"),
        processes=found.get("processes", 0),
        networks=_networks(pid),
        devices=tuple(_devices(groups)),
    )


def _cgroups_of(pid: int) -> dict[str, Path]:
    """Directory by controller; "" stands for cgroup v2."""
    groups: dict[str, Path] = {}
    for line in _lines(Path(f"/proc/{pid}/cgroup")):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            root = CGROUPS / controller if controller else CGROUPS
            groups[controller] = root / path.lstrip("/")
    if len(groups) > 1:  # a hybrid host: the v2 tree has no controllers
        groups.pop("", None)
    return groups


def _memory_directory(groups: Mapping[str, Path]) -> Path:
    return groups.get("memory", groups.get("", Path("/nonexistent")))


def _read_split(groups: Mapping[str, Path]) -> dict[str, int]:
    """cgroup v1."""
    ticks = _NS_PER_SECOND // os.sysconf("SC_CLK_TCK")
    found: dict[str, int] = {}
    if (cpu := groups.get("cpuacct")) is not None:
        parts = _pairs(cpu / "cpuacct.stat")
        found["cpu"] = _number(cpu / "cpuacct.usage")
        found["cpu_user"] = parts.get("user", 0) * ticks
        found["cpu_kernel"] = parts.get("system", 0) * ticks
    if (memory := groups.get("memory")) is not None:
        found["memory"] = _number(memory / "memory.usage_in_bytes")
        found["memory_limit"] = _number(memory / "memory.limit_in_bytes")
    if (pids := groups.get("pids")) is not None:
        found["processes"] = _number(pids / "pids.current")
    return found


def _read_unified(groups: Mapping[str, Path]) -> dict[str, int]:
    """cgroup v2."""
    directory = groups[""]
    cpu = _pairs(directory / "cpu.stat")
    return {
        "cpu": cpu.get("usage_usec", 0) * 1000,
        "cpu_user": cpu.get("user_usec", 0) * 1000,
        "cpu_kernel": cpu.get("system_usec", 0) * 1000,
        "memory": _number(directory / "memory.current"),
        "memory_limit": _number(directory / "memory.max"),
        "processes": _number(directory / "pids.current"),
    }


def _devices(groups: Mapping[str, Path]) -> Iterable[DeviceBytes]:
    if (blkio := groups.get("blkio")) is not None:  # "8:0 Read 4096"
        for line in _lines(blkio / "blkio.throttle.io_service_bytes"):
            words = line.split()
            if len(words) == 3 and words[1] in ("Read", "Write"):
                yield _device(words[0], words[1].lower(), words[2])
    elif "" in groups:  # "8:0 rbytes=4096 wbytes=0 ..."
        for line in _lines(groups[""] / "io.stat"):
            device, *counts = line.split()
            for count in counts:
                name, _, number = count.partition("=")
                if name in ("rbytes", "wbytes"):
                    yield _device(device, "read" if name == "rbytes" else "write", number)


def _device(numbers: str, operation: str, count: str) -> DeviceBytes:
    major, _, minor = numbers.partition(":")
    return DeviceBytes(int(major), int(minor), operation, int(count))


def _networks(pid: int) -> dict[str, NetworkCounters]:
    """Interfaces of its network namespace but lo, from /proc/net/dev."""
    found: dict[str, NetworkCounters] = {}
    for line in _lines(Path(f"/proc/{pid}/net/dev"))[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            found[name.strip()] = NetworkCounters(*numbers[0:4], *numbers[8:12])
    return found


def _system_cpu_ns() -> int:
    first = _lines(Path("/proc/stat"))[:1]
    words = first[0].split()[1:9] if first else []
    return sum(int(word) for word in words) * (_NS_PER_SECOND // os.sysconf("SC_CLK_TCK"))


def _pairs(path: Path) -> dict[str, int]:
    words = (line.split() for line in _lines(path))
    return {each[0]: int(each[1]) for each in words if len(each) == 2 and each[1].isdigit()}


def _number(path: Path) -> int:
    text = "".join(_lines(path)[:1]).strip()
    return int(text) if text.isdigit() else 0


def _lines(path: Path) -> list[str]:
    """Nothing where it cannot be read: the process has ended, the cgroup goes away meanwhile, or the kernel does not
    count that."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
