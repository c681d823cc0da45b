"""Containers as Docker spells them: answers."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType


class State(msgspec.Struct):
    Status: str
    Running: bool
    Paused: bool
    Restarting: bool
    OOMKilled: bool
    Dead: bool
    Pid: int
    ExitCode: int
    Error: str
    StartedAt: str
    FinishedAt: str


class GraphDriver(msgspec.Struct):
    Data: dict[str, str] | None
    Name: str


class MountPoint(msgspec.Struct):
    Type: str
    Source: str
    Destination: str
    Mode: str
    RW: bool
    Propagation: str
    Name: str | UnsetType = UNSET
    Driver: str | UnsetType = UNSET


class ShownConfig(msgspec.Struct):
    Hostname: str
    Domainname: str
    User: str
    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    Tty: bool
    OpenStdin: bool
    StdinOnce: bool
    Env: list[str] | None
    Cmd: list[str] | None
    Image: str
    Volumes: dict[str, dict[str, Any]] | None
    WorkingDir: str
    Entrypoint: list[str] | None
    OnBuild: list[str] | UnsetType | None
    Labels: dict[str, str] | None
    ExposedPorts: dict[str, dict[str, Any]] | UnsetType = UNSET
    NetworkDisabled: bool | UnsetType = UNSET
    StopSignal: str | UnsetType = UNSET
    StopTimeout: int | UnsetType = UNSET
    Healthcheck: Any = UNSET
    Shell: list[str] | UnsetType = UNSET


class Endpoint(msgspec.Struct):
    NetworkID: str = ""
    EndpointID: str = ""
    Gateway: str = ""
    IPAddress: str = ""
    IPPrefixLen: int = 0
    MacAddress: str = ""
    Aliases: list[str] | None = None
    IPAMConfig: dict[str, Any] | None = None
    Links: list[str] | None = None
    IPv6Gateway: str = ""
    GlobalIPv6Address: str = ""
    GlobalIPv6PrefixLen: int = 0
    DriverOpts: dict[str, str] | None = None
    DNSNames: list[str] | None = None
    GwPriority: int = 0


class NetworkSettings(msgspec.Struct):
    Networks: dict[str, Endpoint]
    SandboxKey: str = ""
    SandboxID: str = ""
    Ports: dict[str, Any] = msgspec.field(default_factory=dict)


class OldNetworkSettings(NetworkSettings):
    """Before API 1.52: with what is said of the default network's endpoint as well."""

    EndpointID: str = ""
    Gateway: str = ""
    IPAddress: str = ""
    IPPrefixLen: int = 0
    MacAddress: str = ""
    Bridge: str = ""
    HairpinMode: bool = False
    LinkLocalIPv6Address: str = ""
    LinkLocalIPv6PrefixLen: int = 0
    SecondaryIPAddresses: list[Any] | None = None
    SecondaryIPv6Addresses: list[Any] | None = None
    GlobalIPv6Address: str = ""
    GlobalIPv6PrefixLen: int = 0
    IPv6Gateway: str = ""


class ContainerInspect(msgspec.Struct):
    Id: str
    Created: str
    Path: str
    Args: list[str]
    State: State
    Image: str
    ResolvConfPath: str
    HostnamePath: str
    HostsPath: str
    LogPath: str
    Name: str
    RestartCount: int
    Driver: str
    HostConfig: Raw
    GraphDriver: GraphDriver
    Mounts: list[MountPoint]
    Config: ShownConfig
    NetworkSettings: NetworkSettings
    ExecIDs: list[str] | None = None
    Platform: str = "linux"
    MountLabel: str = ""
    ProcessLabel: str = ""
    AppArmorProfile: str = ""
    SizeRw: int | UnsetType = UNSET
    SizeRootFs: int | UnsetType = UNSET


class ListedHostConfig(msgspec.Struct):
    NetworkMode: str


class ListedNetworks(msgspec.Struct):
    Networks: dict[str, Endpoint]


class ContainerSummary(msgspec.Struct):
    Id: str
    Names: list[str]
    Image: str
    ImageID: str
    Command: str
    Created: int
    Ports: list[Any]
    Labels: dict[str, str]
    State: str
    Status: str
    HostConfig: ListedHostConfig
    NetworkSettings: ListedNetworks
    Mounts: list[MountPoint]
    SizeRw: int | UnsetType = UNSET
    SizeRootFs: int | UnsetType = UNSET


class ProcessConfig(msgspec.Struct):
    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | UnsetType = UNSET


class ExecInspect(msgspec.Struct):
    ID: str
    Running: bool
    ExitCode: int | None
    ProcessConfig: ProcessConfig
    OpenStdin: bool
    OpenStderr: bool
    OpenStdout: bool
    CanRemove: bool
    ContainerID: str
    DetachKeys: str
    Pid: int
