"""Look up what a start needs of the host and of the mounted root file system."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from orlop.engine.accounts import find_account
from orlop.engine.container_files import container_hostname
from orlop.engine.patience import require_storage
from orlop.engine.rootfs import open_rootfs
from orlop.errors import Conflict, HostFailure, Malformed
from orlop.model.container import Container
from orlop.model.mount import Mount, MountKind
from orlop.model.network import NetworkAttachment
from orlop.planning.bundles import Surroundings


def find_surroundings(
    container: Container,
    find: Callable[[str], Container],
    directory: Path,
    log_path: Path,
    rootfs: Path,
    volume_sources: Mapping[str, Path],
    network: NetworkAttachment | None,
) -> Surroundings:
    sources = dict(volume_sources)
    for mount in container.mounts:
        if mount.kind is MountKind.BIND:
            sources[mount.destination] = prepare_bind_source(mount)
    rootfs_fd = open_rootfs(rootfs)
    try:
        account = find_account(rootfs_fd, container.config.user, container.host.group_add)
    finally:
        os.close(rootfs_fd)
    host = container.host
    return Surroundings(
        directory=directory,
        log_path=log_path,
        rootfs=rootfs,
        sources=sources,
        hostname=container_hostname(container),
        uid=account.uid,
        gid=account.gid,
        additional_gids=account.additional_gids,
        home=account.home,
        network_namespace=_network_namespace(container, network),
        pid_namespace=_shared_namespace(host.pid_mode, "pid", find),
        ipc_namespace=_shared_namespace(host.ipc_mode, "ipc", find),
        uts_namespace="host" if host.uts_mode == "host" else "",
    )


def prepare_bind_source(mount: Mount) -> Path:
    """The host path of a bind mount. With -v a missing one is made a directory; with --mount it is refused. Raises
    Unavailable when its storage does not answer: whoever else does not use it must not wait with us."""
    source = Path(mount.source)
    if require_storage(f"bind source {source}", source):
        return source
    _refuse_failing(source)
    if not mount.create_source:
        raise Malformed(
            'invalid mount config for type "bind"',
            f"bind source path does not exist: {source}",
            "Create it, or use -v, which creates it",
        )
    _make_source(source)
    return source


def _refuse_failing(source: Path) -> None:
    """What cannot be looked at is not missing."""
    try:
        source.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return  # nothing of that name can be there
        raise HostFailure(f"bind source {source}", error.strerror or str(error)) from error


def _make_source(source: Path) -> None:
    """A directory, and those above it that are missing: 0755 and root's, whatever the daemon's umask."""
    try:
        missing = [path for path in (source, *source.parents) if not os.path.lexists(path)]
        for path in reversed(missing or [source]):
            path.mkdir()
            path.chmod(0o755)
    except FileExistsError:
        if not source.is_dir():  # else another container was quicker
            hint = "A link that leads nowhere is there"
            raise HostFailure("", _cannot_make(source, "file exists"), hint) from None
    except OSError as error:
        raise HostFailure("", _cannot_make(source, (error.strerror or str(error)).lower())) from error


def _cannot_make(source: Path, why: str) -> str:
    return f"error while creating mount source path '{source}': mkdir {source}: {why}"


def _network_namespace(container: Container, network: NetworkAttachment | None) -> str:
    if network is None:
        return ""
    return "host" if network.network == "host" else network.sandbox_path


def _shared_namespace(mode: str, kind: str, find: Callable[[str], Container]) -> str:
    if mode == "host":
        return "host"
    if mode.startswith("container:"):
        other = find(mode.partition(":")[2])
        if not other.is_running:
            raise Conflict("", f"cannot join {kind.upper()} of a non running container: {other.id}", "Start it first")
        return f"/proc/{other.status.pid}/ns/{kind}"
    if mode in ("", "private", "shareable"):
        return ""
    raise Malformed("", f"invalid {kind.upper()} mode: {mode}", 'Use "host" or "container:NAME"')
