"""From a container's record to the bundle that runs it: every name resolved, nothing looked up here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orlop.drivers.runtimes.driver import Bundle, BundleMount, Process
from orlop.errors import Malformed
from orlop.model.container import Container
from orlop.model.mount import Mount, MountKind
from orlop.model.mount_spec import merge_tmpfs_options, render_size
from orlop.model.sizes import parse_size
from orlop.model.value import dataclass
from orlop.planning.containers import process_environment
from orlop.planning.mounts import mounting_order

DEFAULT_SHM_BYTES = 64 << 20
NO_LOG = "none"  # the log driver that keeps nothing
GENERATED_FILES = ("resolv.conf", "hostname", "hosts")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found out for one start."""

    directory: Path  # <data-root>/containers/<id>
    log_path: Path
    rootfs: Path
    sources: Mapping[str, Path]  # host path of each volume and bind, by destination
    hostname: str
    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str
    network_namespace: str  # a path, "host", or "" for a new one
    pid_namespace: str = ""
    ipc_namespace: str = ""
    uts_namespace: str = ""


def build_bundle(container: Container, found: Surroundings) -> Bundle:
    host, config = container.host, container.config
    return Bundle(
        container_id=container.id,
        name=container.name,
        log_path=None if host.log_driver == NO_LOG else found.log_path,
        rootfs=found.rootfs,
        readonly_rootfs=host.readonly_rootfs,
        process=Process(
            args=(container.path, *container.args),
            env=process_environment(config, found.hostname, found.home),
            cwd=config.workdir or "/",
            uid=found.uid,
            gid=found.gid,
            additional_gids=found.additional_gids,
            tty=config.tty,
            stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            cap_add=host.cap_add,
            cap_drop=host.cap_drop,
            no_new_privileges=_has_no_new_privileges(host.security_options),
            privileged=host.privileged,
            rlimits=host.ulimits,
            oom_score_adj=host.oom_score_adj or None,
        ),
        hostname=found.hostname,
        domainname=config.domainname,
        mounts=tuple(_bundle_mounts(container, found)),
        shm_size_bytes=host.shm_size_bytes or DEFAULT_SHM_BYTES,
        resources=host.resources,
        devices=host.devices,
        sysctls=host.sysctls,
        masked_paths=host.masked_paths,
        readonly_paths=host.readonly_paths,
        seccomp=_seccomp(host.security_options, host.privileged),
        network_namespace=found.network_namespace,
        pid_namespace=found.pid_namespace,
        ipc_namespace=found.ipc_namespace,
        uts_namespace=found.uts_namespace,
        cgroup_parent=host.cgroup_parent,
        init=host.init,
        log_max_bytes=_log_max_bytes(host.log_options),
    )


def _bundle_mounts(container: Container, found: Surroundings) -> list[BundleMount]:
    """Shallow destinations first, so that nothing is hidden by what is mounted above it later."""
    mounts = [_one_mount(mount, found.sources) for mount in container.mounts]
    taken = {mount.destination for mount in mounts}
    mounts += [
        BundleMount(f"/etc/{name}", str(found.directory / name), "bind", ("rbind", "rprivate", "rw"))
        for name in GENERATED_FILES
        if f"/etc/{name}" not in taken
    ]
    return sorted(mounts, key=lambda mount: mounting_order(mount.destination))


def _one_mount(mount: Mount, sources: Mapping[str, Path]) -> BundleMount:
    if mount.kind is MountKind.TMPFS:
        words = list(mount.tmpfs_options)
        if mount.tmpfs_size_bytes:
            words.append(f"size={render_size(mount.tmpfs_size_bytes)}")
        if mount.tmpfs_mode:
            words.append(f"mode={mount.tmpfs_mode:o}")
        if mount.read_only:
            words.append("ro")
        return BundleMount(mount.destination, "tmpfs", "tmpfs", merge_tmpfs_options(words))
    depth = "bind" if mount.non_recursive else "rbind"
    # Without "rw": crun would take it as the wish to make writable what is mounted read-only on the host.
    access = ("ro",) if mount.read_only else ()
    options = (depth, mount.propagation or "rprivate", *access)
    return BundleMount(mount.destination, str(sources[mount.destination]), "bind", options)


def _has_no_new_privileges(options: Sequence[str]) -> bool:
    return any(
        option in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true") for option in options
    )


def _seccomp(options: Sequence[str], privileged: bool) -> str:
    for option in options:
        key, separator, value = option.partition("=")
        if key == "seccomp" and separator:
            return value
    return "unconfined" if privileged else "default"


def _log_max_bytes(options: Mapping[str, str]) -> int:
    wanted = options.get("max-size", "")
    if wanted in ("", "-1"):
        return 0
    try:
        return parse_size(wanted)
    except ValueError as error:
        raise Malformed("log option max-size", str(error), "Give a size such as 10m") from error
