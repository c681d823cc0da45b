"""Containers, from values to Docker's spelling."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from orlop.docker.messages import ApiVersion
from orlop.docker.wire import inspect as wire
from orlop.docker.wire.times import render_time
from orlop.engine.sessions import Exec
from orlop.model.container import Container, ContainerConfig, ContainerState, Status
from orlop.model.mount import Mount, MountKind, MountOrigin
from orlop.model.network import NetworkAttachment
from orlop.store.paths import DataRoot


class _Kept(msgspec.Struct):
    """The client view as inspect needs it: the biggest part is passed on as it is."""

    HostConfig: msgspec.Raw = msgspec.Raw(b"{}")
    Healthcheck: Any = None
    OnBuild: list[str] | None = None
    Shell: list[str] | None = None
    Aliases: dict[str, list[str]] | None = None


@functools.lru_cache(maxsize=512)
def _kept(client_view: str) -> _Kept:
    return msgspec.json.decode(client_view, type=_Kept)


def inspect_container(
    container: Container,
    data_root: DataRoot,
    driver: str,
    api: ApiVersion,
    exec_ids: Sequence[str] = (),
    layer: Mapping[str, str] | None = None,
    size: tuple[int, int] | None = None,
) -> wire.ContainerInspect:
    kept = _kept(container.client_view)
    directory = data_root.container(container.id)
    # The files exist from the first start on.
    files = str(directory) + "/" if container.status.started_at_ns else ""
    own = {mount.destination: mount.source for mount in container.mounts if mount.kind is MountKind.BIND}
    return wire.ContainerInspect(
        Id=container.id,
        Created=render_time(container.created_at_ns),
        Path=container.path,
        Args=list(container.args),
        State=state(container.status),
        Image=container.image_id,
        ResolvConfPath=own.get("/etc/resolv.conf") or (files and files + "resolv.conf"),
        HostnamePath=own.get("/etc/hostname") or (files and files + "hostname"),
        HostsPath=own.get("/etc/hosts") or (files and files + "hosts"),
        LogPath="",
        Name="/" + container.name,
        RestartCount=container.status.restart_count,
        Driver=driver,
        HostConfig=kept.HostConfig,
        GraphDriver=wire.GraphDriver(dict(layer) if layer else None, driver),
        Mounts=mount_points(container.mounts),
        Config=_config(container.config, kept, api),
        NetworkSettings=_network_settings(container, kept, api),
        ExecIDs=list(exec_ids) or None,
        SizeRw=size[0] if size else UNSET,
        SizeRootFs=size[1] if size else UNSET,
    )


def state(status: Status) -> wire.State:
    running = status.state in (ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING)
    return wire.State(
        Status=status.state.value,
        Running=running,
        Paused=status.state is ContainerState.PAUSED,
        Restarting=status.state is ContainerState.RESTARTING,
        OOMKilled=status.oom_killed,
        Dead=status.state is ContainerState.DEAD,
        Pid=status.pid if running else 0,
        ExitCode=status.exit_code,
        Error=status.error or status.frozen_for,
        StartedAt=render_time(status.started_at_ns),
        FinishedAt=render_time(status.finished_at_ns),
    )


def mount_points(mounts: Sequence[Mount]) -> list[wire.MountPoint]:
    """Sorted by destination; --tmpfs mounts are not among them."""
    shown = [mount for mount in mounts if mount.origin is not MountOrigin.TMPFS]
    return [_mount_point(mount) for mount in sorted(shown, key=lambda mount: mount.destination)]


def _mount_point(mount: Mount) -> wire.MountPoint:
    is_volume = mount.kind is MountKind.VOLUME
    has_propagation = mount.kind in (MountKind.BIND, MountKind.IMAGE)
    mode = mount.mode
    if is_volume and not mode and mount.origin is MountOrigin.BINDS:
        mode = "z"
    return wire.MountPoint(
        Type=mount.kind.value,
        Source=mount.source,
        Destination=mount.destination,
        Mode=mode,
        RW=not mount.read_only,
        Propagation=(mount.propagation or "rprivate") if has_propagation else "",
        Name=mount.volume or mount.image or UNSET,
        Driver=(mount.driver or "local") if is_volume else UNSET,
    )


def _config(config: ContainerConfig, kept: _Kept, api: ApiVersion) -> wire.ShownConfig:
    return wire.ShownConfig(
        Hostname=config.hostname,
        Domainname=config.domainname,
        User=config.user,
        AttachStdin=config.attach_stdin,
        AttachStdout=config.attach_stdout,
        AttachStderr=config.attach_stderr,
        Tty=config.tty,
        OpenStdin=config.open_stdin,
        StdinOnce=config.stdin_once,
        Env=list(config.env),
        Cmd=_words(config.command),
        Image=config.image,
        Volumes={destination: {} for destination in config.volumes} or None,
        WorkingDir=config.workdir,
        Entrypoint=_words(config.entrypoint),
        OnBuild=kept.OnBuild if kept.OnBuild or api < (1, 52) else UNSET,
        Labels=dict(config.labels),
        ExposedPorts={port: {} for port in config.exposed_ports} or UNSET,
        NetworkDisabled=config.network_disabled or UNSET,
        StopSignal=config.stop_signal or UNSET,
        StopTimeout=UNSET if config.stop_timeout_seconds is None else config.stop_timeout_seconds,
        Healthcheck=UNSET if kept.Healthcheck is None else kept.Healthcheck,
        Shell=kept.Shell or UNSET,
    )


def _words(words: tuple[str, ...] | None) -> list[str] | None:
    return list(words) if words else None


def _network_settings(container: Container, kept: _Kept, api: ApiVersion) -> wire.NetworkSettings:
    place = container.network or NetworkAttachment("")
    endpoints = _endpoints(container, kept)
    if api >= (1, 52):
        return wire.NetworkSettings(endpoints, SandboxKey=place.sandbox_path, SandboxID=place.endpoint_id)
    return wire.OldNetworkSettings(
        endpoints,
        SandboxKey=place.sandbox_path,
        SandboxID=place.endpoint_id,
        EndpointID=place.endpoint_id,
        Gateway=place.gateway,
        IPAddress=place.address,
        IPPrefixLen=place.prefix_length,
        MacAddress=place.mac_address,
    )


def _endpoints(container: Container, kept: _Kept | None) -> dict[str, wire.Endpoint]:
    mode = container.host.network_mode
    name = "bridge" if mode in ("default", "") else mode
    if name.startswith("container:"):
        return {}
    place = container.network or NetworkAttachment(name)
    return {
        name: wire.Endpoint(
            NetworkID=place.network_id,
            EndpointID=place.endpoint_id,
            Gateway=place.gateway,
            IPAddress=place.address,
            IPPrefixLen=place.prefix_length,
            MacAddress=place.mac_address,
            Aliases=(kept.Aliases or {}).get(name) if kept else None,
        )
    }


def summarise_container(
    container: Container, api: ApiVersion, size: tuple[int, int] | None = None
) -> wire.ContainerSummary:
    return wire.ContainerSummary(
        Id=container.id,
        Names=["/" + container.name],
        Image=container.config.image or container.image_id,
        ImageID=container.image_id,
        Command=" ".join([container.path, *container.args]).strip(),
        Created=container.created_at_ns // 1_000_000_000,
        Ports=[],
        Labels=dict(container.config.labels),
        State=container.status.state.value,
        Status=describe_status(container.status, time.time_ns()),
        HostConfig=wire.ListedHostConfig(container.host.network_mode),
        NetworkSettings=wire.ListedNetworks(_endpoints(container, None)),
        Mounts=mount_points(container.mounts),
        SizeRw=size[0] if size else UNSET,
        SizeRootFs=size[1] if size else UNSET,
    )


def describe_status(status: Status, now_ns: int) -> str:
    """ "Up 5 minutes", as `docker ps` shows it."""
    up_for = describe_age((now_ns - status.started_at_ns) // 1_000_000_000)
    ended = describe_age((now_ns - status.finished_at_ns) // 1_000_000_000)
    match status.state:
        case ContainerState.RUNNING:
            return f"Up {up_for} (Frozen)" if status.frozen_for else f"Up {up_for}"
        case ContainerState.PAUSED:
            return f"Up {up_for} (Paused)"
        case ContainerState.RESTARTING:
            return f"Restarting ({status.exit_code}) {ended} ago"
        case ContainerState.CREATED:
            return "Created"
        case ContainerState.REMOVING:
            return "Removal In Progress"
        case ContainerState.DEAD:
            return "Dead"
        case ContainerState.EXITED:
            return f"Exited ({status.exit_code}) {ended} ago"


_AGES = ((60, 1, "second"), (3600, 60, "minute"), (48 * 3600, 3600, "hour"), (14 * 86400, 86400, "day"))
_LONG_AGES = ((60 * 86400, 7 * 86400, "weeks"), (730 * 86400, 30 * 86400, "months"))


def describe_age(seconds: int) -> str:
    """ "About a minute", "3 hours": an age in the words that Docker's clients show."""
    if seconds < 1:
        return "Less than a second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 3600 <= seconds < 5400:
        return "About an hour"
    for below, unit_seconds, unit in _AGES:
        if seconds < below:
            count = seconds // unit_seconds
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    for below, unit_seconds, unit in _LONG_AGES:
        if seconds < below:
            return f"{seconds // unit_seconds} {unit}"
    return f"{seconds // (365 * 86400)} years"


def inspect_exec(found: Exec) -> wire.ExecInspect:
    wish = found.wish
    return wire.ExecInspect(
        ID=found.id,
        Running=found.running,
        ExitCode=found.exit_code,
        ProcessConfig=wire.ProcessConfig(
            wish.tty,
            wish.command[0] if wish.command else "",
            list(wish.command[1:]),
            wish.privileged,
            wish.user or UNSET,
        ),
        OpenStdin=wish.attach_stdin,
        OpenStderr=wish.attach_stderr,
        OpenStdout=wish.attach_stdout,
        CanRemove=False,
        ContainerID=found.container_id,
        DetachKeys=wish.detach_keys,
        Pid=found.pid,
    )
