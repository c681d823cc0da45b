"""A bundle as the OCI runtime specification spells it (config.json), with Docker's defaults. Pure but for asking what a
device node is."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orlop.drivers.runtimes import security
from orlop.drivers.runtimes.cgroups import CgroupLayout, cgroup_path
from orlop.drivers.runtimes.driver import Bundle, BundleMount, Process
from orlop.errors import HostFailure
from orlop.model.container import Device, Resources

Document = dict[str, Any]

_INIT = "/sbin/docker-init"
_PROPAGATIONS = {"shared": "shared", "rshared": "shared", "slave": "rslave", "rslave": "rslave"}
_CPU_PERIOD_US = 100_000

# (type, major, minor); None = any. What every container may use: the nodes of /dev that the runtime makes, terminals.
_ALLOWED_DEVICES: tuple[tuple[str, int | None, int | None, str], ...] = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts
)


def render_bundle(
    bundle: Bundle,
    capabilities: Sequence[str],
    layout: CgroupLayout,
    seccomp: Document | None,
    annotations: Mapping[str, str],
    init_program: str,
) -> Document:
    process = render_process(bundle.process, capabilities)
    mounts = list(bundle.mounts)
    if bundle.init:
        process["args"] = [_INIT, "--", *process["args"]]
        mounts.append(BundleMount(_INIT, init_program, "bind", ("bind", "ro")))
    linux: Document = {
        "cgroupsPath": cgroup_path(bundle.container_id, bundle.cgroup_parent),
        "namespaces": _namespaces(bundle, layout),
        "resources": _resources(bundle),
        "sysctl": _sysctls(bundle),
        "maskedPaths": _paths(bundle.masked_paths, security.MASKED_PATHS, bundle.process.privileged),
        "readonlyPaths": _paths(bundle.readonly_paths, security.READONLY_PATHS, bundle.process.privileged),
        "devices": [_device(device) for device in _all_devices(bundle)],
    }
    propagation = [_PROPAGATIONS[option] for mount in mounts for option in mount.options if option in _PROPAGATIONS]
    if propagation:
        linux["rootfsPropagation"] = "shared" if "shared" in propagation else "rslave"
    if seccomp is not None:
        linux["seccomp"] = seccomp
    document: Document = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(bundle.rootfs), "readonly": bundle.readonly_rootfs},
        "mounts": [_mount(mount) for mount in _default_mounts(bundle, mounts) + mounts],
        "linux": linux,
        "annotations": {**bundle.annotations, **annotations},
    }
    if bundle.uts_namespace != "host":
        document["hostname"] = bundle.hostname
    return document


def passes_mounts(bundle: Bundle) -> bool:
    """Whether what is mounted on the host later is to show in the container, or the other way round."""
    return any(option in _PROPAGATIONS for mount in bundle.mounts for option in mount.options)


def render_process(process: Process, capabilities: Sequence[str]) -> Document:
    names = list(capabilities)
    document: Document = {
        "terminal": process.tty,
        "user": {"uid": process.uid, "gid": process.gid, "additionalGids": list(process.additional_gids)},
        "args": list(process.args),
        "env": list(process.env),
        "cwd": process.cwd or "/",
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "rlimits": [
            {"type": f"RLIMIT_{limit.name.upper()}", "soft": limit.soft, "hard": limit.hard}
            for limit in process.rlimits
        ],
        "noNewPrivileges": process.no_new_privileges,
    }
    if process.oom_score_adj is not None:
        document["oomScoreAdj"] = process.oom_score_adj
    if process.tty and process.console_height and process.console_width:
        document["consoleSize"] = {"height": process.console_height, "width": process.console_width}
    return document


def _default_mounts(bundle: Bundle, wanted: Sequence[BundleMount]) -> list[BundleMount]:
    """Docker's, less those that the user put something else over."""
    access = "rw" if bundle.process.privileged else "ro"
    quiet = ("nosuid", "noexec", "nodev")
    defaults = [
        BundleMount("/proc", "proc", "proc", quiet),
        BundleMount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        BundleMount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        BundleMount("/sys", "sysfs", "sysfs", (*quiet, access)),
        BundleMount("/sys/fs/cgroup", "cgroup", "cgroup", (*quiet, access)),
        BundleMount("/dev/mqueue", "mqueue", "mqueue", quiet),
        _shared_memory(bundle, quiet),
    ]
    taken = {mount.destination.rstrip("/") for mount in wanted}
    return [
        mount
        for mount in defaults
        if mount.destination not in taken and not ("/dev" in taken and mount.destination.startswith("/dev/"))
    ]


def _shared_memory(bundle: Bundle, options: Sequence[str]) -> BundleMount:
    where = "/dev/shm"  # noqa: S108
    if bundle.ipc_namespace == "host":
        return BundleMount(where, where, "bind", ("rbind", "rprivate", "rw"))
    return BundleMount(where, "shm", "tmpfs", (*options, "mode=1777", f"size={bundle.shm_size_bytes}"))


def _mount(mount: BundleMount) -> Document:
    return {
        "destination": mount.destination,
        "type": mount.type,
        "source": mount.source,
        "options": list(mount.options),
    }


def _namespaces(bundle: Bundle, layout: CgroupLayout) -> list[Document]:
    namespaces: list[Document] = [{"type": "mount"}]
    wanted = {
        "network": bundle.network_namespace,
        "pid": bundle.pid_namespace,
        "ipc": bundle.ipc_namespace,
        "uts": bundle.uts_namespace,
    }
    for kind, where in wanted.items():
        if where != "host":
            namespaces.append({"type": kind, "path": where} if where else {"type": kind})
    if layout is CgroupLayout.UNIFIED and not bundle.process.privileged:
        namespaces.append({"type": "cgroup"})  # Docker's default: private on v2, the host's on v1
    return namespaces


def _sysctls(bundle: Bundle) -> dict[str, str]:
    sysctls: dict[str, str] = {}
    # Another container's namespace, named by its process, has its own settings already.
    if bundle.network_namespace != "host" and not bundle.network_namespace.startswith("/proc/"):
        # An unprivileged process may ping and listen on any port: the namespace is its own.
        sysctls |= {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    if bundle.domainname and bundle.uts_namespace != "host":
        sysctls["kernel.domainname"] = bundle.domainname
    return {**sysctls, **bundle.sysctls}


def _paths(wanted: tuple[str, ...] | None, default: tuple[str, ...], privileged: bool) -> list[str]:
    if wanted is not None:
        return list(wanted)
    return [] if privileged else list(default)


def _resources(bundle: Bundle) -> Document:
    wanted = bundle.resources
    document: Document = {"devices": _device_rules(bundle)}
    memory = _memory(wanted)
    cpu = _cpu(wanted)
    if memory:
        document["memory"] = memory
    if cpu:
        document["cpu"] = cpu
    if wanted.pids_limit > 0:
        document["pids"] = {"limit": wanted.pids_limit}
    return document


def _memory(wanted: Resources) -> Document:
    memory: Document = {}
    if wanted.memory_bytes > 0:
        memory["limit"] = wanted.memory_bytes
    if wanted.memory_reservation_bytes > 0:
        memory["reservation"] = wanted.memory_reservation_bytes
    if wanted.memory_swap_bytes:
        memory["swap"] = wanted.memory_swap_bytes
    if wanted.oom_kill_disable:
        memory["disableOOMKiller"] = True
    return memory


def _cpu(wanted: Resources) -> Document:
    cpu: Document = {}
    if wanted.cpu_shares:
        cpu["shares"] = wanted.cpu_shares
    if wanted.nano_cpus:
        cpu |= {"period": _CPU_PERIOD_US, "quota": wanted.nano_cpus * _CPU_PERIOD_US // 1_000_000_000}
    if wanted.cpu_period_us:
        cpu["period"] = wanted.cpu_period_us
    if wanted.cpu_quota_us:
        cpu["quota"] = wanted.cpu_quota_us
    if wanted.cpuset_cpus:
        cpu["cpus"] = wanted.cpuset_cpus
    if wanted.cpuset_mems:
        cpu["mems"] = wanted.cpuset_mems
    return cpu


def _device_rules(bundle: Bundle) -> list[Document]:
    if bundle.process.privileged or bundle.all_devices:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Document] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in _ALLOWED_DEVICES:
        rule: Document = {"allow": True, "type": kind, "access": access}
        if major is not None:
            rule["major"] = major
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    for device in _all_devices(bundle):
        node = _device(device)
        rules.append(
            {
                "allow": True,
                "type": node["type"],
                "major": node["major"],
                "minor": node["minor"],
                "access": device.permissions,
            }
        )
    return rules


def _all_devices(bundle: Bundle) -> list[Device]:
    if bundle.process.privileged:
        return [*_host_devices(Path("/dev")), *(d for wanted in bundle.devices for d in _expanded(wanted))]
    return [device for wanted in bundle.devices for device in _expanded(wanted)]


def _expanded(device: Device) -> list[Device]:
    """A directory of device nodes stands for all of them."""
    path = Path(device.host_path)
    if not path.is_dir():
        return [device]
    return [
        Device(found.host_path, device.container_path + found.host_path[len(device.host_path) :], device.permissions)
        for found in _host_devices(path)
    ]


# Made by the runtime for each container anew, or views of the host that a container must not share.
_NOT_FROM_HOST = frozenset({"pts", "shm", "fd", "mqueue", "console", "ptmx", "lxc", "lxd-mounts"})


def _host_devices(top: Path) -> list[Device]:
    found: list[Device] = []
    for entry in sorted(os.scandir(top), key=lambda entry: entry.name):
        if entry.name in _NOT_FROM_HOST or entry.is_symlink():
            continue
        if entry.is_dir():
            found += _host_devices(Path(entry.path))
        elif stat.S_IFMT(entry.stat().st_mode) in (stat.S_IFBLK, stat.S_IFCHR):
            found.append(Device(entry.path, entry.path))
    return found


def _device(device: Device) -> Document:
    where = f'error gathering device information while adding custom device "{device.host_path}"'
    try:
        details = Path(device.host_path).stat()
    except OSError as error:
        raise HostFailure(where, (error.strerror or str(error)).lower()) from error
    kind = {stat.S_IFBLK: "b", stat.S_IFCHR: "c"}.get(stat.S_IFMT(details.st_mode))
    if kind is None:
        raise HostFailure(where, "not a device node")
    return {
        "path": device.container_path or device.host_path,
        "type": kind,
        "major": os.major(details.st_rdev),
        "minor": os.minor(details.st_rdev),
        "fileMode": stat.S_IMODE(details.st_mode),
        "uid": details.st_uid,
        "gid": details.st_gid,
    }
