"""Facts about the daemon, to Docker's spelling."""

import time
from pathlib import Path
from typing import Any

from orlop import __version__
from orlop.docker.messages import ApiVersion
from orlop.docker.wire.times import render_time
from orlop.engine.system import SystemInfo

_COMMITS = ("ContainerdCommit", "RuncCommit", "InitCommit")


def show_info(info: SystemInfo, events_listening: int, api: ApiVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ID": info.id,
        "Containers": info.containers,
        "ContainersRunning": info.running,
        "ContainersPaused": info.paused,
        "ContainersStopped": info.stopped,
        "Images": info.images,
        "Driver": info.layer_driver,
        "DriverStatus": [list(pair) for pair in info.layer_driver_status],
        "Plugins": {
            "Volume": list(info.volume_drivers),
            "Network": list(info.network_drivers),
            "Authorization": None,
            "Log": ["json-file", "local", "none"],
        },
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "IPv4Forwarding": _reads_one("/proc/sys/net/ipv4/ip_forward"),
        "Debug": False,
        "NFd": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "OomKillDisable": info.cgroup_version == "1",
        "NGoroutines": 0,
        "SystemTime": render_time(time.time_ns()),
        "LoggingDriver": "json-file",
        "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version,
        "NEventsListener": events_listening,
        "KernelVersion": info.kernel_version,
        "OperatingSystem": info.operating_system,
        "OSVersion": info.os_version,
        "OSType": "linux",
        "Architecture": info.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": []},
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
        "GenericResources": None,
        "DockerRootDir": info.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": info.name,
        "Labels": list(info.labels),
        "ExperimentalBuild": False,
        "ServerVersion": __version__,
        "Runtimes": {name: {"path": name} for name in info.runtimes},
        "DefaultRuntime": info.runtime,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "",
        **{field: {"ID": ""} if api >= (1, 49) else {"ID": "", "Expected": ""} for field in _COMMITS},
        "SecurityOptions": list(info.security_options),
        "Warnings": [*info.warnings, *(f"unfinished: {each}" for each in info.unfinished)] or None,
        "CDISpecDirs": [],
    }
    if api >= (1, 49):
        shown["FirewallBackend"] = {"Driver": "nftables"}
    if api < (1, 50):
        for field, name in (("BridgeNfIptables", "iptables"), ("BridgeNfIp6tables", "ip6tables")):
            shown[field] = _reads_one(f"/proc/sys/net/bridge/bridge-nf-call-{name}")
    return shown


def _reads_one(path: str) -> bool:
    try:
        return Path(path).read_text().strip() == "1"
    except OSError:
        return False
