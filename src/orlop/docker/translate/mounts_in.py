"""`Binds` and `Mounts` of a create request, to mount requests in the order given."""

from orlop.docker.messages import ApiVersion
from orlop.docker.wire import container as wire
from orlop.errors import Malformed, Unsupported
from orlop.model.mount import MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import check_mount_request, parse_bind


def mount_requests(host: wire.HostConfig, api: ApiVersion) -> tuple[MountRequest, ...]:
    """Raises Malformed in dockerd's words, Unsupported."""
    binds = [parse_bind(spec, host.VolumeDriver) for spec in host.Binds or ()]
    return (*binds, *(_mount(mount, api) for mount in host.Mounts or ()))


def _mount(mount: wire.Mount, api: ApiVersion) -> MountRequest:
    kind = _kind(mount, api)
    _check_options(mount, api)
    bind = mount.BindOptions or wire.BindOptions()
    volume = mount.VolumeOptions or wire.VolumeOptions()
    tmpfs = mount.TmpfsOptions or wire.TmpfsOptions()
    driver = volume.DriverConfig or wire.DriverConfig()
    if bind.ReadOnlyForceRecursive:
        raise Unsupported(f"mount {mount.Target}", "a read-only mount that must be recursive is not supported")
    return check_mount_request(
        MountRequest(
            kind=kind,
            destination=mount.Target,
            source=mount.Source,
            read_only=mount.ReadOnly,
            origin=MountOrigin.MOUNTS,
            propagation=bind.Propagation,
            no_copy=volume.NoCopy,
            create_source=bind.CreateMountpoint and api >= (1, 42),
            non_recursive=bind.NonRecursive and api >= (1, 40),
            subpath=volume.Subpath,
            driver=driver.Name,
            driver_options=driver.Options or {},
            labels=volume.Labels or {},
            tmpfs_size_bytes=tmpfs.SizeBytes,
            tmpfs_mode=tmpfs.Mode,
            tmpfs_options=_tmpfs_words(tmpfs.Options),
        )
    )


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
        case unknown:
            raise Malformed("", f'invalid mount config for type "{unknown}": mount type unknown')


def _check_options(mount: wire.Mount, api: ApiVersion) -> None:
    given = {"bind": mount.BindOptions, "volume": mount.VolumeOptions, "tmpfs": mount.TmpfsOptions}
    if foreign := next((name for name, options in given.items() if options is not None and name != mount.Type), ""):
        field = f"{foreign.capitalize()}Options"
        if api >= (1, 42):
            raise Malformed("", f'{field} must not be specified on mount type "{mount.Type}"')
        raise Malformed("", f'invalid mount config for type "{mount.Type}": field {field} must not be specified')
    if mount.VolumeOptions is not None and mount.VolumeOptions.Subpath and api < (1, 45):
        raise Malformed("", "VolumeOptions.Subpath needs API v1.45 or newer")
    if mount.BindOptions is not None and mount.BindOptions.ReadOnlyForceRecursive and api < (1, 44):
        raise Malformed("", "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")


def _tmpfs_words(options: list[list[str]] | None) -> tuple[str, ...]:
    found: list[str] = []
    for option in options or ():
        if len(option) not in (1, 2):
            raise Malformed("", 'invalid mount config for type "tmpfs": invalid option array length')
        found.append("=".join(option))
    return tuple(found)
