"""`Binds` and `Mounts` of a create request, to mount requests in the order given."""

from dataclasses import replace

from orlop.docker.messages import ApiVersion
from orlop.docker.wire import container as wire
from orlop.errors import Malformed, Unsupported
from orlop.model.mount import IdMapping, MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import check_mount_request, parse_bind

_OPTIONS = ("Bind", "Volume", "Tmpfs", "Image")
_RECURSIVE_SINCE = (1, 44)


def mount_requests(host: wire.HostConfig, api: ApiVersion) -> tuple[MountRequest, ...]:
    """Raises Malformed in dockerd's words, Unsupported."""
    binds = [parse_bind(spec, host.VolumeDriver) for spec in host.Binds or ()]
    requests = (*binds, *(_mount(mount, api) for mount in host.Mounts or ()))
    if api < _RECURSIVE_SINCE:
        requests = tuple(replace(each, read_only_non_recursive=_is_read_only_bind(each)) for each in requests)
    return requests


def _is_read_only_bind(request: MountRequest) -> bool:
    return request.read_only and request.kind is MountKind.BIND


def mount_warnings(host: wire.HostConfig, api: ApiVersion) -> list[str]:
    if not host.VolumeDriver or api < (1, 48):
        return []
    for mount in host.Mounts or ():
        options = mount.VolumeOptions
        names_driver = options is not None and options.DriverConfig is not None and options.DriverConfig.Name
        if mount.Type == "volume" and not names_driver:
            return [
                "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. "
                "Use '--mount type=volume,volume-driver=...' instead"
            ]
    return []


def _mount(mount: wire.Mount, api: ApiVersion) -> MountRequest:
    kind = _kind(mount, api)
    _check_options(mount, api)
    bind = mount.BindOptions or wire.BindOptions()
    volume = mount.VolumeOptions or wire.VolumeOptions()
    tmpfs = mount.TmpfsOptions or wire.TmpfsOptions()
    image = mount.ImageOptions or wire.ImageOptions()
    driver = volume.DriverConfig or wire.DriverConfig()
    mapping, user = _id_mapping(mount.Target, bind.IDMapping or volume.IDMapping)
    request = MountRequest(
        kind=kind,
        destination=mount.Target,
        source=mount.Source,
        read_only=mount.ReadOnly,
        origin=MountOrigin.MOUNTS,
        propagation=bind.Propagation,
        no_copy=volume.NoCopy,
        create_source=bind.CreateMountpoint and api >= (1, 42),
        non_recursive=bind.NonRecursive and api >= (1, 40),
        read_only_non_recursive=bind.ReadOnlyNonRecursive,
        read_only_force_recursive=bind.ReadOnlyForceRecursive,
        id_mapping=mapping,
        id_mapping_user=user,
        subpath=volume.Subpath or image.Subpath,
        driver=driver.Name,
        driver_options=driver.Options or {},
        labels=volume.Labels or {},
        tmpfs_size_bytes=tmpfs.SizeBytes,
        tmpfs_mode=tmpfs.Mode,
        tmpfs_options=_tmpfs_words(tmpfs.Options),
    )
    checked = check_mount_request(request)
    # The destination stays as it was sent: that is how a duplicate is named.
    return replace(checked, destination=mount.Target)


def _kind(mount: wire.Mount, api: ApiVersion) -> MountKind:
    match mount.Type:
        case "bind":
            return MountKind.BIND
        case "volume":
            return MountKind.VOLUME
        case "tmpfs":
            return MountKind.TMPFS
        case "image" if api < (1, 48):
            raise Malformed("", 'Mount type "Image" needs API v1.48 or newer')
        case "image":
            return MountKind.IMAGE
        case unknown:
            hints = {
                "npipe": "Named pipes are for Windows containers, which do not run on Linux",
                "cluster": "Volumes of a cluster are for services",
            }
            why = f'invalid mount config for type "{unknown}": mount type unknown'
            raise Malformed("", why, hints.get(unknown, "Known: bind, volume, tmpfs, image"))


def _check_options(mount: wire.Mount, api: ApiVersion) -> None:
    for name in _OPTIONS:
        field = f"{name}Options"
        if getattr(mount, field) is None or mount.Type == name.lower():
            continue
        if api >= (1, 42) and name != "Image":
            raise Malformed("", f'{field} must not be specified on mount type "{mount.Type}"')
        raise Malformed("", f'invalid mount config for type "{mount.Type}": field {field} must not be specified')
    if mount.VolumeOptions is not None and mount.VolumeOptions.Subpath and api < (1, 45):
        raise Malformed("", "VolumeOptions.Subpath needs API v1.45 or newer")
    if mount.BindOptions is not None and mount.BindOptions.ReadOnlyForceRecursive and api < _RECURSIVE_SINCE:
        raise Malformed("", "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")


def _id_mapping(target: str, wanted: wire.IDMapping | str | None) -> tuple[IdMapping, str]:
    """The mapping, and whose if not the container's user's. A word alone stands for an object with that source."""
    if isinstance(wanted, str):
        wanted = wire.IDMapping(wanted)
    match wanted:
        case None | wire.IDMapping(Source="", User=""):
            return IdMapping.NONE, ""
        case wire.IDMapping(Source="match-user"):
            return IdMapping.MATCH_USER, wanted.User
        case wire.IDMapping(Source="userns"):
            why = "an id mapping by the container's user namespace needs one, and containers here have none"
            raise Unsupported(f"mount {target}", why, 'Use "match-user"')
    raise Malformed("", f"invalid id mapping: {wanted.Source}", 'Known: "match-user"')


def _tmpfs_words(options: list[list[str]] | None) -> tuple[str, ...]:
    found: list[str] = []
    for option in options or ():
        if len(option) not in (1, 2):
            raise Malformed("", 'invalid mount config for type "tmpfs": invalid option array length')
        found.append("=".join(option))
    return tuple(found)
