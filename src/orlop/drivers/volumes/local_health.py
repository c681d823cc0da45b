"""How the mount of a local volume is: of NFS, CIFS and whatever else somebody has to answer for. Disks and memory of
this host answer always."""

from orlop.drivers.volumes.abilities import Health, HealthState
from orlop.drivers.volumes.mount_health import MountHealth
from orlop.drivers.volumes.mounted_uses import is_in_use, seen_mount
from orlop.drivers.volumes.volume_directory import VolumeDirectory
from orlop.kernel.foreign import is_foreign_type


def health_of(volume: VolumeDirectory, mounts: MountHealth) -> Health:
    entry = seen_mount(volume)
    if entry is None:
        gone = Health(HealthState.STALE, f"nothing is mounted on {volume.data_path} any more")
        return gone if is_in_use(volume) else Health()
    return mounts.health(volume.name, volume.data_path) if is_foreign_type(entry.fs_type) else Health()
