"""What becomes of each field of a container's create request. `docs/compatibility.md` is made from this table.

mapped    Orlop does what it says
ignored   it changes nothing that Orlop does, and the reason why that is right
warned    it asks for something that Orlop does not do and that harms nobody; the answer carries a warning
refused   it asks for something that Orlop cannot keep; anything but the default is an error
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from orlop.errors import Unsupported
from orlop.model.value import dataclass


class Fate(StrEnum):
    MAPPED = "mapped"
    IGNORED = "ignored"
    WARNED = "warned"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    fate: Fate
    note: str = ""
    accepted: tuple[Any, ...] = ()  # values of a refused or warned field that ask for nothing


_MAPPED = Field(Fate.MAPPED)


def _ignored(why: str) -> Field:
    return Field(Fate.IGNORED, why)


def _warned(note: str, *accepted: Any) -> Field:
    return Field(Fate.WARNED, note, accepted)


def _refused(note: str, *accepted: Any) -> Field:
    return Field(Fate.REFUSED, note, accepted)


_WINDOWS = _ignored("concerns Windows containers only")
_BLKIO = _warned("block I/O limits are not applied")
_REALTIME = _warned("real-time scheduling limits are not applied")
_KERNEL_MEMORY = _warned("the kernel no longer has this limit")

CONFIG: Mapping[str, Field] = {
    "Hostname": _MAPPED,
    "Domainname": _MAPPED,
    "User": _MAPPED,
    "AttachStdin": _MAPPED,
    "AttachStdout": _MAPPED,
    "AttachStderr": _MAPPED,
    "ExposedPorts": _MAPPED,
    "Tty": _MAPPED,
    "OpenStdin": _MAPPED,
    "StdinOnce": _MAPPED,
    "Env": _MAPPED,
    "Cmd": _MAPPED,
    "Healthcheck": _warned("health checks are kept but not run"),
    "ArgsEscaped": _WINDOWS,
    "Image": _MAPPED,
    "Volumes": _MAPPED,
    "WorkingDir": _MAPPED,
    "Entrypoint": _MAPPED,
    "NetworkDisabled": _MAPPED,
    "MacAddress": Field(Fate.MAPPED, "up to API 1.51; then it is the endpoint's, and ignored here with a warning"),
    "OnBuild": _ignored("is of use when an image is built from this one"),
    "Labels": _MAPPED,
    "StopSignal": _MAPPED,
    "StopTimeout": _MAPPED,
    "Shell": _ignored("is of use when an image is built from this one"),
}

HOST_CONFIG: Mapping[str, Field] = {
    "Binds": _MAPPED,
    "ContainerIDFile": _ignored("is the client's own affair"),
    "LogConfig": Field(
        Fate.MAPPED, "type json-file, local or none; option max-size; logs are kept in one format of Orlop's own"
    ),
    "NetworkMode": Field(Fate.MAPPED, "bridge, host, none, container:<id>"),
    "PortBindings": _refused("publishing ports is not supported yet"),
    "RestartPolicy": _MAPPED,
    "AutoRemove": _MAPPED,
    "VolumeDriver": _MAPPED,
    "VolumesFrom": _MAPPED,
    "ConsoleSize": _ignored("clients resize the terminal once they are attached"),
    "Annotations": _warned("annotations are not handed to the runtime"),
    "CapAdd": _MAPPED,
    "CapDrop": _MAPPED,
    "CgroupnsMode": _warned("the host's cgroup namespace is used", "host"),
    "Dns": _MAPPED,
    "DnsOptions": _MAPPED,
    "DnsSearch": _MAPPED,
    "ExtraHosts": _MAPPED,
    "GroupAdd": _MAPPED,
    "IpcMode": _MAPPED,
    "Cgroup": _refused("joining another container's cgroup is not supported"),
    "Links": _refused("links are not supported", []),
    "OomScoreAdj": _MAPPED,
    "PidMode": _MAPPED,
    "Privileged": _MAPPED,
    "PublishAllPorts": _refused("publishing ports is not supported yet"),
    "ReadonlyRootfs": _MAPPED,
    "SecurityOpt": _MAPPED,
    "StorageOpt": _refused("a limit on the writable layer's size is not supported by this storage driver"),
    "Tmpfs": _MAPPED,
    "UTSMode": _MAPPED,
    "UsernsMode": _refused("user namespaces are not supported yet", "host"),
    "ShmSize": _MAPPED,
    "Sysctls": _MAPPED,
    "Runtime": _MAPPED,
    "Isolation": _refused("is for Windows containers, which do not run on Linux", "default"),
    "CpuShares": _MAPPED,
    "Memory": _MAPPED,
    "NanoCpus": _MAPPED,
    "CgroupParent": _MAPPED,
    "BlkioWeight": _BLKIO,
    "BlkioWeightDevice": _BLKIO,
    "BlkioDeviceReadBps": _BLKIO,
    "BlkioDeviceWriteBps": _BLKIO,
    "BlkioDeviceReadIOps": _BLKIO,
    "BlkioDeviceWriteIOps": _BLKIO,
    "CpuPeriod": _MAPPED,
    "CpuQuota": _MAPPED,
    "CpuRealtimePeriod": _REALTIME,
    "CpuRealtimeRuntime": _REALTIME,
    "CpusetCpus": _MAPPED,
    "CpusetMems": _MAPPED,
    "Devices": _MAPPED,
    "DeviceCgroupRules": _refused("device cgroup rules are not supported"),
    "DeviceRequests": _refused("requests for devices by capability (GPUs) are not supported"),
    "KernelMemory": _KERNEL_MEMORY,
    "KernelMemoryTCP": _KERNEL_MEMORY,
    "MemoryReservation": _MAPPED,
    "MemorySwap": _MAPPED,
    "MemorySwappiness": _warned("swappiness is not applied", -1),
    "OomKillDisable": _MAPPED,
    "PidsLimit": _MAPPED,
    "Ulimits": _MAPPED,
    "CpuCount": _WINDOWS,
    "CpuPercent": _WINDOWS,
    "IOMaximumIOps": _WINDOWS,
    "IOMaximumBandwidth": _WINDOWS,
    "Init": _MAPPED,
    "Mounts": Field(
        Fate.MAPPED,
        "types bind, volume, tmpfs and image; `IDMapping` of Orlop's own in `BindOptions` and `VolumeOptions`; `npipe` "
        "is for Windows containers, which do not run on Linux, `cluster` for services",
    ),
    "MaskedPaths": _MAPPED,
    "ReadonlyPaths": _MAPPED,
}


def check_fields(value: msgspec.Struct, table: Mapping[str, Field]) -> list[str]:
    """Warnings for what is not done. Raises Unsupported for what cannot be kept."""
    warnings: list[str] = []
    for name in value.__struct_fields__:
        field = table[name]
        if field.fate is Fate.MAPPED or field.fate is Fate.IGNORED:
            continue
        given = getattr(value, name)
        if not given or given in field.accepted or _asks_for_nothing(given):
            continue
        if field.fate is Fate.REFUSED:
            raise Unsupported(name, field.note, "Leave it out")
        warnings.append(f"{name}: {field.note}")
    return warnings


def _asks_for_nothing(given: Any) -> bool:
    return isinstance(given, msgspec.Struct) and getattr(given, "Test", None) in (None, [], ["NONE"])
