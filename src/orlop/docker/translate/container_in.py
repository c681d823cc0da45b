"""A create request, from Docker's spelling to a wish."""

import dataclasses

import msgspec

from orlop.docker import fields
from orlop.docker.messages import ApiVersion
from orlop.docker.translate.checks import check_host, check_limits, check_restart_policy
from orlop.docker.translate.mounts_in import mount_requests, mount_warnings
from orlop.docker.wire import container as wire
from orlop.errors import Malformed, Unsupported
from orlop.model.container import (
    ContainerConfig,
    ContainerWish,
    Device,
    HostConfig,
    Resources,
    RestartPolicy,
    Ulimit,
)
from orlop.model.network import parse_mac_address
from orlop.model.volume import hide_secrets

DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_MASKED_PATHS = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
DEFAULT_READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


class ClientView(msgspec.Struct):
    """What inspect gives back of a create request beside what the engine knows. Kept with the container."""

    HostConfig: wire.HostConfig
    Healthcheck: wire.HealthConfig | None = None
    OnBuild: list[str] | None = None
    Shell: list[str] | None = None
    Aliases: dict[str, list[str]] | None = None


def container_wish(
    request: wire.ContainerCreate, name: str, api: ApiVersion, runtime: str = ""
) -> tuple[ContainerWish, list[str]]:
    """The wish and warnings. Raises Malformed, Unsupported."""
    if request == wire.ContainerCreate():
        raise Malformed("", "config cannot be empty in order to create a container")
    host = request.HostConfig or wire.HostConfig()
    plain = wire.Config(**{field: getattr(request, field) for field in wire.Config.__struct_fields__})
    warnings = fields.check_fields(plain, fields.CONFIG) + fields.check_fields(host, fields.HOST_CONFIG)
    warnings += [*check_host(host), *mount_warnings(host, api)]
    if plain.MacAddress and api >= (1, 52):
        plain.MacAddress = ""
        warnings.append("MacAddress: since API 1.52 it is set in NetworkingConfig.EndpointsConfig; ignored here")
    config = dataclasses.replace(container_config(plain), mac_address=_mac_address(plain, request.NetworkingConfig))
    translated = _host_config(host, api)
    if plain.NetworkDisabled:
        translated = dataclasses.replace(translated, network_mode="none")
    view = ClientView(
        _normalised(host, runtime),
        request.Healthcheck,
        request.OnBuild,
        request.Shell,
        _aliases(request.NetworkingConfig, host.NetworkMode),
    )
    return ContainerWish(config, translated, name.removeprefix("/"), msgspec.json.encode(view).decode()), warnings


def container_config(config: wire.Config) -> ContainerConfig:
    for item in config.Env or ():
        if item.startswith("=") or not item or "\0" in item:
            raise Malformed("", f"invalid environment variable: {item}", "Write NAME=value")
    return ContainerConfig(
        image=config.Image,
        command=words(config.Cmd),
        entrypoint=words(config.Entrypoint),
        env=tuple(config.Env or ()),
        user=config.User,
        workdir=config.WorkingDir,
        hostname=config.Hostname,
        domainname=config.Domainname,
        labels=config.Labels or {},
        tty=config.Tty,
        open_stdin=config.OpenStdin,
        stdin_once=config.StdinOnce,
        attach_stdin=config.AttachStdin,
        attach_stdout=config.AttachStdout,
        attach_stderr=config.AttachStderr,
        stop_signal=config.StopSignal,
        stop_timeout_seconds=config.StopTimeout,
        volumes=tuple(config.Volumes or ()),
        exposed_ports=tuple(config.ExposedPorts or ()),
        network_disabled=config.NetworkDisabled,
    )


def words(value: list[str] | str | None) -> tuple[str, ...] | None:
    """Docker takes one string for a list of one."""
    if value is None:
        return None
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value)


def _host_config(host: wire.HostConfig, api: ApiVersion) -> HostConfig:
    return HostConfig(
        mounts=mount_requests(host, api),
        tmpfs=host.Tmpfs or {},
        volumes_from=tuple(host.VolumesFrom or ()),
        volume_driver=host.VolumeDriver,
        network_mode=_network_mode(host.NetworkMode),
        auto_remove=host.AutoRemove,
        restart_policy=restart_policy(host),
        privileged=host.Privileged,
        cap_add=words(host.CapAdd) or (),
        cap_drop=words(host.CapDrop) or (),
        readonly_rootfs=host.ReadonlyRootfs,
        ulimits=tuple(Ulimit(limit.Name, limit.Soft, limit.Hard) for limit in host.Ulimits or ()),
        resources=resources(host),
        devices=tuple(_device(device) for device in host.Devices or ()),
        dns=tuple(host.Dns or ()),
        dns_options=tuple(host.DnsOptions or ()),
        dns_search=tuple(host.DnsSearch or ()),
        extra_hosts=tuple(host.ExtraHosts or ()),
        group_add=tuple(host.GroupAdd or ()),
        pid_mode=host.PidMode,
        ipc_mode=host.IpcMode,
        uts_mode=host.UTSMode,
        userns_mode=host.UsernsMode,
        cgroup_parent=host.CgroupParent,
        security_options=tuple(host.SecurityOpt or ()),
        sysctls=host.Sysctls or {},
        shm_size_bytes=host.ShmSize,
        init=bool(host.Init),
        oom_score_adj=host.OomScoreAdj,
        runtime=host.Runtime,
        log_driver=host.LogConfig.Type,
        log_options=host.LogConfig.Config or {},
        masked_paths=None if host.MaskedPaths is None else tuple(host.MaskedPaths),
        readonly_paths=None if host.ReadonlyPaths is None else tuple(host.ReadonlyPaths),
    )


def _network_mode(mode: str) -> str:
    return "default" if mode in ("", "default") else mode


def restart_policy(host: wire.HostConfig) -> RestartPolicy:
    check_restart_policy(host)
    return RestartPolicy(host.RestartPolicy.Name or "no", host.RestartPolicy.MaximumRetryCount)


def resources(host: wire.HostConfig) -> Resources:
    check_limits(host)
    return Resources(
        memory_bytes=host.Memory,
        memory_reservation_bytes=host.MemoryReservation,
        memory_swap_bytes=host.MemorySwap,
        nano_cpus=host.NanoCpus,
        cpu_shares=host.CpuShares,
        cpu_period_us=host.CpuPeriod,
        cpu_quota_us=host.CpuQuota,
        cpuset_cpus=host.CpusetCpus,
        cpuset_mems=host.CpusetMems,
        pids_limit=host.PidsLimit or 0,
        oom_kill_disable=bool(host.OomKillDisable),
    )


def _device(device: wire.DeviceMapping) -> Device:
    if not device.PathOnHost:
        raise Malformed("", "a device needs its path on the host")
    return Device(device.PathOnHost, device.PathInContainer or device.PathOnHost, device.CgroupPermissions or "rwm")


def _aliases(networking: wire.NetworkingConfig | None, mode: str) -> dict[str, list[str]] | None:
    """What can be said of the endpoint. Raises Unsupported for a second network, or a fixed address."""
    found: dict[str, list[str]] = {}
    wanted = mode if mode not in ("", "default") else "bridge"
    for name, endpoint in ((networking and networking.EndpointsConfig) or {}).items():
        if (name if name != "default" else "bridge") != wanted:
            raise Unsupported(
                f"network {name}", f"the container is in network {wanted} already, a second one is not supported"
            )
        if endpoint.IPAMConfig and any(endpoint.IPAMConfig.values()):
            raise Unsupported(f"network {name}", "an address of one's own choice is not supported yet")
        if endpoint.Links:
            raise Unsupported(f"network {name}", "links are not supported yet")
        found[name] = endpoint.Aliases or []
    return found or None


def _mac_address(config: wire.Config, networking: wire.NetworkingConfig | None) -> str:
    """Of the endpoint since API 1.44, of the container before; a client may say it in both places."""
    endpoints = ((networking and networking.EndpointsConfig) or {}).values()
    wanted = {parse_mac_address(text) for text in (config.MacAddress, *(each.MacAddress for each in endpoints)) if text}
    if len(wanted) > 1:
        raise Malformed("", "conflicting MAC address specified: the container's and its endpoint's must be the same")
    return wanted.pop() if wanted else ""


def _normalised(host: wire.HostConfig, runtime: str) -> wire.HostConfig:
    """As dockerd would show it: its defaults filled in."""
    shown = msgspec.structs.replace(host)
    shown.LogConfig = wire.LogConfig(host.LogConfig.Type or "json-file", host.LogConfig.Config or {})
    shown.NetworkMode = host.NetworkMode or "default"
    shown.RestartPolicy = wire.RestartPolicy(host.RestartPolicy.Name or "no", host.RestartPolicy.MaximumRetryCount)
    shown.IpcMode = host.IpcMode or "private"
    shown.CgroupnsMode = host.CgroupnsMode or "host"
    shown.ShmSize = host.ShmSize or DEFAULT_SHM_BYTES
    shown.Runtime = host.Runtime or runtime
    shown.OomKillDisable = bool(host.OomKillDisable)
    shown.CapAdd = _listed(host.CapAdd)
    shown.CapDrop = _listed(host.CapDrop)
    if host.MaskedPaths is None and not host.Privileged:
        shown.MaskedPaths = DEFAULT_MASKED_PATHS
    if host.ReadonlyPaths is None and not host.Privileged:
        shown.ReadonlyPaths = DEFAULT_READONLY_PATHS
    shown.Mounts = [_without_secrets(mount) for mount in host.Mounts] if host.Mounts else host.Mounts
    return shown


def _without_secrets(mount: wire.Mount) -> wire.Mount:
    """A password among a volume driver's options is for the driver alone."""
    options = mount.VolumeOptions
    if options is None or options.DriverConfig is None or not options.DriverConfig.Options:
        return mount
    driver = msgspec.structs.replace(options.DriverConfig, Options=hide_secrets(options.DriverConfig.Options))
    return msgspec.structs.replace(mount, VolumeOptions=msgspec.structs.replace(options, DriverConfig=driver))


def _listed(value: list[str] | str | None) -> list[str] | None:
    found = words(value)
    return None if found is None else list(found)
