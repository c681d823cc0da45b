"""Containers as Docker spells them: requests on the way in.

A field that stands here is read; what becomes of it says `orlop.docker.fields`, field by field. A field of Docker's
that does not stand here is unknown to Orlop and ignored, as dockerd ignores unknown fields.
"""

# Fields are named like their types; without this a default would hide the type from the annotation beside it.
from __future__ import annotations

from typing import Any

import msgspec


class HealthConfig(msgspec.Struct, omit_defaults=True):
    Test: list[str] | None = None
    Interval: int = 0
    Timeout: int = 0
    Retries: int = 0
    StartPeriod: int = 0
    StartInterval: int = 0


class Config(msgspec.Struct):
    """`Config` of a container: also the body of create and of commit."""

    Hostname: str = ""
    Domainname: str = ""
    User: str = ""
    AttachStdin: bool = False
    AttachStdout: bool = False
    AttachStderr: bool = False
    ExposedPorts: dict[str, dict[str, Any]] | None = None
    Tty: bool = False
    OpenStdin: bool = False
    StdinOnce: bool = False
    Env: list[str] | None = None
    Cmd: list[str] | str | None = None
    Healthcheck: HealthConfig | None = None
    ArgsEscaped: bool = False
    Image: str = ""
    Volumes: dict[str, dict[str, Any]] | None = None
    WorkingDir: str = ""
    Entrypoint: list[str] | str | None = None
    NetworkDisabled: bool = False
    MacAddress: str = ""
    OnBuild: list[str] | None = None
    Labels: dict[str, str] | None = None
    StopSignal: str = ""
    StopTimeout: int | None = None
    Shell: list[str] | None = None


class LogConfig(msgspec.Struct):
    Type: str = ""
    Config: dict[str, str] | None = None


class RestartPolicy(msgspec.Struct):
    Name: str = ""
    MaximumRetryCount: int = 0


class PortBinding(msgspec.Struct):
    HostIp: str = ""
    HostPort: str = ""


class DriverConfig(msgspec.Struct, omit_defaults=True):
    Name: str = ""
    Options: dict[str, str] | None = None


class IDMapping(msgspec.Struct, omit_defaults=True):
    """How owners are shown: not yet a part of any of Docker's versions, spelled as it is proposed there."""

    Source: str = ""
    User: str = ""


class BindOptions(msgspec.Struct, omit_defaults=True):
    Propagation: str = ""
    NonRecursive: bool = False
    CreateMountpoint: bool = False
    ReadOnlyNonRecursive: bool = False
    ReadOnlyForceRecursive: bool = False
    IDMapping: IDMapping | str | None = None


class VolumeOptions(msgspec.Struct, omit_defaults=True):
    NoCopy: bool = False
    Labels: dict[str, str] | None = None
    DriverConfig: DriverConfig | None = None
    Subpath: str = ""
    IDMapping: IDMapping | str | None = None


class TmpfsOptions(msgspec.Struct, omit_defaults=True):
    SizeBytes: int = 0
    Mode: int = 0
    Options: list[list[str]] | None = None


class ImageOptions(msgspec.Struct, omit_defaults=True):
    Subpath: str = ""


class Mount(msgspec.Struct, omit_defaults=True):
    Type: str = ""
    Source: str = ""
    Target: str = ""
    ReadOnly: bool = False
    Consistency: str = ""
    BindOptions: BindOptions | None = None
    VolumeOptions: VolumeOptions | None = None
    TmpfsOptions: TmpfsOptions | None = None
    ImageOptions: ImageOptions | None = None
    ClusterOptions: dict[str, Any] | None = None


class DeviceMapping(msgspec.Struct):
    PathOnHost: str = ""
    PathInContainer: str = ""
    CgroupPermissions: str = ""


class Ulimit(msgspec.Struct):
    Name: str = ""
    Hard: int = 0
    Soft: int = 0


class HostConfig(msgspec.Struct):
    """As inspect shows it: every field is there, also those that Orlop refuses to set."""

    Binds: list[str] | None = None
    ContainerIDFile: str = ""
    LogConfig: LogConfig = msgspec.field(default_factory=LogConfig)
    NetworkMode: str = ""
    PortBindings: dict[str, list[PortBinding] | None] | None = None
    RestartPolicy: RestartPolicy = msgspec.field(default_factory=RestartPolicy)
    AutoRemove: bool = False
    VolumeDriver: str = ""
    VolumesFrom: list[str] | None = None
    ConsoleSize: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    Annotations: dict[str, str] | None = None
    CapAdd: list[str] | str | None = None
    CapDrop: list[str] | str | None = None
    CgroupnsMode: str = ""
    Dns: list[str] | None = None
    DnsOptions: list[str] | None = None
    DnsSearch: list[str] | None = None
    ExtraHosts: list[str] | None = None
    GroupAdd: list[str] | None = None
    IpcMode: str = ""
    Cgroup: str = ""
    Links: list[str] | None = None
    OomScoreAdj: int = 0
    PidMode: str = ""
    Privileged: bool = False
    PublishAllPorts: bool = False
    ReadonlyRootfs: bool = False
    SecurityOpt: list[str] | None = None
    StorageOpt: dict[str, str] | None = None
    Tmpfs: dict[str, str] | None = None
    UTSMode: str = ""
    UsernsMode: str = ""
    ShmSize: int = 0
    Sysctls: dict[str, str] | None = None
    Runtime: str = ""
    Isolation: str = ""
    CpuShares: int = 0
    Memory: int = 0
    NanoCpus: int = 0
    CgroupParent: str = ""
    BlkioWeight: int = 0
    BlkioWeightDevice: list[dict[str, Any]] | None = None
    BlkioDeviceReadBps: list[dict[str, Any]] | None = None
    BlkioDeviceWriteBps: list[dict[str, Any]] | None = None
    BlkioDeviceReadIOps: list[dict[str, Any]] | None = None
    BlkioDeviceWriteIOps: list[dict[str, Any]] | None = None
    CpuPeriod: int = 0
    CpuQuota: int = 0
    CpuRealtimePeriod: int = 0
    CpuRealtimeRuntime: int = 0
    CpusetCpus: str = ""
    CpusetMems: str = ""
    Devices: list[DeviceMapping] | None = None
    DeviceCgroupRules: list[str] | None = None
    DeviceRequests: list[dict[str, Any]] | None = None
    KernelMemory: int = 0
    KernelMemoryTCP: int = 0
    MemoryReservation: int = 0
    MemorySwap: int = 0
    MemorySwappiness: int | None = None
    OomKillDisable: bool | None = None
    PidsLimit: int | None = None
    Ulimits: list[Ulimit] | None = None
    CpuCount: int = 0
    CpuPercent: int = 0
    IOMaximumIOps: int = 0
    IOMaximumBandwidth: int = 0
    Init: bool | None = None
    Mounts: list[Mount] | None = None
    MaskedPaths: list[str] | None = None
    ReadonlyPaths: list[str] | None = None


class EndpointSettings(msgspec.Struct):
    IPAMConfig: dict[str, Any] | None = None
    Links: list[str] | None = None
    Aliases: list[str] | None = None
    MacAddress: str = ""
    DriverOpts: dict[str, str] | None = None


class NetworkingConfig(msgspec.Struct):
    EndpointsConfig: dict[str, EndpointSettings] | None = None


class ContainerCreate(Config):
    HostConfig: HostConfig | None = None
    NetworkingConfig: NetworkingConfig | None = None


class ExecCreate(msgspec.Struct):
    User: str = ""
    Privileged: bool = False
    Tty: bool = False
    ConsoleSize: list[int] | None = None
    AttachStdin: bool = False
    AttachStderr: bool = False
    AttachStdout: bool = False
    DetachKeys: str = ""
    Env: list[str] | None = None
    WorkingDir: str = ""
    Cmd: list[str] | str | None = None


class ExecStart(msgspec.Struct):
    Detach: bool = False
    Tty: bool = False
    ConsoleSize: list[int] | None = None
