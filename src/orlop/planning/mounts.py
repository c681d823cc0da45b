"""Which mounts a container gets: all inputs of the request put together, clashes refused, in the order of mounting.

Later wins over earlier on the same destination, where it is not refused:

    1 --volumes-from      the last of them wins
    2 -v source:dst       replaces an inherited one; twice the same, or the same as a --tmpfs: refused
    3 --mount             replaces an inherited one; the same as a -v, a --mount or a --tmpfs: refused
    4 -v /dst, VOLUME     only where nothing is mounted yet
    5 --tmpfs             shadows what is inherited
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orlop.errors import HostFailure, Malformed
from orlop.model.container import HostConfig
from orlop.model.mount import Mount, MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import check_mount_request, clean_path, parse_tmpfs_options
from orlop.model.volume import DEFAULT_DRIVER, Volume


def resolve_mounts(
    host: HostConfig, config_volumes: Sequence[str], inherited: Sequence[Mount] = ()
) -> tuple[MountRequest, ...]:
    """Every mount the container asks for, parents before children. `config_volumes` are the image's and the user's
    destinations of anonymous volumes; `inherited` the mounts of the --volumes-from containers, in order, a mode of
    `:ro` already applied (`inherit_mounts`). Raises Malformed for a duplicate or a wrong request."""
    tmpfs = {clean_path(destination): options for destination, options in host.tmpfs.items()}
    chosen = {mount.destination: _request_of(mount) for mount in inherited}
    named: set[str] = set()
    for request in host.mounts:
        cleaned = check_mount_request(request)
        if cleaned.destination in named or cleaned.destination in tmpfs:
            raise Malformed("", f"Duplicate mount point: {request.destination}", "Mount each destination once")
        named.add(cleaned.destination)
        chosen[cleaned.destination] = cleaned
    for destination in config_volumes:
        cleaned = _config_volume(destination, host.volume_driver)
        if cleaned.destination not in tmpfs:
            chosen.setdefault(cleaned.destination, cleaned)
    for destination, options in tmpfs.items():
        chosen[destination] = _tmpfs(destination, options)
    return tuple(sorted(chosen.values(), key=lambda request: mounting_order(request.destination)))


def inherit_mounts(mounts: Iterable[Mount], read_only: bool) -> tuple[Mount, ...]:
    """What --volumes-from takes from one container. `rw` cannot lift the source's own read-only."""
    return tuple(
        replace(mount, read_only=mount.read_only or read_only)
        for mount in mounts
        if mount.origin is not MountOrigin.TMPFS  # --tmpfs is the container's own business
    )


def plan_mount(request: MountRequest, volume: Volume | None = None) -> Mount:
    """What the container gets for a request, once the volume of a volume mount is there."""
    assert (volume is not None) == (request.kind is MountKind.VOLUME)
    private = request.kind in (MountKind.BIND, MountKind.IMAGE)
    propagation = request.propagation or ("rprivate" if private else "")
    mode = request.mode
    if volume and volume.driver == DEFAULT_DRIVER and not mode and request.origin is not MountOrigin.CONFIG:
        mode = "z"
    return Mount(
        kind=request.kind,
        destination=request.destination,
        source=volume.mountpoint if volume else request.source,
        volume=(request.source or volume.name) if volume else "",  # an alias, where that was asked for
        driver=volume.driver if volume else "",
        read_only=request.read_only or request.kind is MountKind.IMAGE,
        anonymous=volume is not None and (request.anonymous or not request.source),
        origin=request.origin,
        mode=mode,
        propagation=propagation,
        non_recursive=request.non_recursive,
        copy_up=volume is not None and not request.no_copy,
        create_source=request.create_source,
        read_only_non_recursive=request.read_only_non_recursive,
        read_only_force_recursive=request.read_only_force_recursive,
        id_mapping=request.id_mapping,
        id_mapping_user=request.id_mapping_user,
        image=request.source if request.kind is MountKind.IMAGE else "",
        image_id=request.image_id,
        subpath=request.subpath,
        tmpfs_size_bytes=request.tmpfs_size_bytes,
        tmpfs_mode=request.tmpfs_mode,
        tmpfs_options=request.tmpfs_options,
    )


def settle_propagation(request: MountRequest, data_root: str) -> MountRequest:
    """A bind of the data root, of what is in it or of what it is in shows the daemon's own mounts. They must go away in
    the container too when the daemon unmounts them, or it could never remove what lies below: so propagation is rslave
    there unless asked for otherwise. Raises Malformed where it was asked for and would keep them."""
    if request.kind is not MountKind.BIND or not shows_data_root(request.source, data_root):
        return request
    if request.propagation in ("rslave", "rshared"):
        return request
    if not request.propagation:
        return replace(request, propagation="rslave")
    why = (
        'must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, '
        f'daemon root: "{data_root}", bind mount source: "{request.source}", propagation: "{request.propagation}"'
    )
    raise Malformed("", f"invalid mount config: {why}")


def shows_data_root(source: str, data_root: str) -> bool:
    """Whether one of the two paths lies in the other."""
    source, root = source.rstrip("/") + "/", data_root.rstrip("/") + "/"
    return source.startswith(root) or root.startswith(source)


def check_recursion(mount: Mount) -> None:
    """Raises HostFailure, as a start does in Docker, where what was asked for contradicts itself."""
    why = ""
    if mount.read_only_non_recursive and not mount.read_only:
        why = "!ReadOnly && BindOptions.ReadOnlyNonRecursive"
    elif mount.read_only_force_recursive and not mount.read_only:
        why = "!ReadOnly && BindOptions.ReadOnlyForceRecursive"
    elif mount.read_only_force_recursive and mount.read_only_non_recursive:
        why = "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"
    if why:
        raise HostFailure("", f"mount options conflict: {why}", "Create the container anew with one of them")


def mounting_order(destination: str) -> tuple[int, str]:
    """Sort key: a mount comes after every mount it lies in."""
    return destination.count("/"), destination


def is_below_read_only(mounts: Iterable[Mount], path: str, readonly_rootfs: bool) -> bool:
    """Whether `path` of the container, cleaned, may not be written to: the nearest mount above it decides."""
    mount = nearest_mount(mounts, path)
    return readonly_rootfs if mount is None else mount.read_only


def nearest_mount(mounts: Iterable[Mount], path: str) -> Mount | None:
    above = [mount for mount in mounts if path == mount.destination or path.startswith(mount.destination + "/")]
    return max(above, key=lambda mount: len(mount.destination), default=None)


def _request_of(mount: Mount) -> MountRequest:
    """Ask again for what another container has. Its volume exists, so driver options and labels are settled."""
    return MountRequest(
        kind=mount.kind,
        destination=mount.destination,
        source=mount.volume or mount.image or mount.source,
        anonymous=mount.anonymous,
        read_only=mount.read_only,
        origin=MountOrigin.VOLUMES_FROM,
        mode=mount.mode,
        propagation=mount.propagation,
        no_copy=True,
        create_source=mount.create_source,
        non_recursive=mount.non_recursive,
        read_only_non_recursive=mount.read_only_non_recursive and mount.read_only,
        read_only_force_recursive=mount.read_only_force_recursive and mount.read_only,
        id_mapping=mount.id_mapping,
        id_mapping_user=mount.id_mapping_user,
        image_id=mount.image_id,
        subpath=mount.subpath,
        driver=mount.driver,
        tmpfs_size_bytes=mount.tmpfs_size_bytes,
        tmpfs_mode=mount.tmpfs_mode,
        tmpfs_options=mount.tmpfs_options,
    )


def _config_volume(destination: str, driver: str) -> MountRequest:
    request = MountRequest(MountKind.VOLUME, destination, origin=MountOrigin.CONFIG, driver=driver)
    try:
        return check_mount_request(request)
    except Malformed as error:
        raise Malformed("", f"invalid volume specification: '{destination}': {error.why}") from error


def _tmpfs(destination: str, options: str) -> MountRequest:
    words = parse_tmpfs_options(options)
    request = MountRequest(
        MountKind.TMPFS, destination, read_only="ro" in words, origin=MountOrigin.TMPFS, tmpfs_options=words
    )
    return check_mount_request(request)
