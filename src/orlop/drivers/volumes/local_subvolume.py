"""Limits on btrfs: `_data` is a subvolume of its own, and its quota group has a limit.

btrfs counts no inodes, so a volume with `inodes=` is an image file there too (local_image). `df` in a container shows
the whole disk: the kernel tells no subvolume's limit by statfs(2).
"""

import errno
import os
from collections.abc import Callable

from orlop.drivers.volumes.abilities import Limits, Measurement
from orlop.drivers.volumes.local_owner import give_owner, give_pending_owner
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_staging import is_data_empty
from orlop.drivers.volumes.local_usage import measure_directory
from orlop.drivers.volumes.volume_directory import DATA, DATA_MODE, VolumeDirectory, entered, remove_data_directory
from orlop.errors import Conflict, Unsupported
from orlop.kernel import btrfs
from orlop.kernel.filesystems import filesystem_name
from orlop.kernel.libc import sync_file_system
from orlop.kernel.mounts import is_mount_point
from orlop.model.sizes import describe_size
from orlop.model.value import dataclass

MECHANISM = "btrfs qgroup"


@dataclass(frozen=True, slots=True)
class SubvolumeContent:
    options: MountOptions
    is_directory = True
    is_stageable = False  # rename(2) puts nothing in the place of a subvolume, and moves nothing into another

    def make(self, volume: VolumeDirectory) -> None:
        # Before: a subvolume gets its quota group when it is made.
        btrfs.enable_quota(volume.fd)
        btrfs.create_subvolume(volume.fd, DATA)
        with entered(volume.fd, DATA) as data_fd:
            os.fchmod(data_fd, DATA_MODE)
            give_owner(data_fd, self.options)
            btrfs.set_limit(data_fd, self.options.quota_bytes)
        # Syncing the files beside it would not bring a new subvolume to the disk.
        sync_file_system(volume.fd)

    def discard(self, volume: VolumeDirectory) -> None:
        subvolume = subvolume_of(volume)
        remove_data_directory(volume)
        if subvolume:
            btrfs.remove_quota_group(volume.fd, subvolume)

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        """A copy put back from a backup, or quotas that were switched off for a while, have lost the limit."""
        with entered(volume.fd, DATA) as data_fd:
            self._hold(data_fd, self.options)
        give_pending_owner(volume, self.options)

    def is_empty(self, volume: VolumeDirectory) -> bool:
        return (volume.may_have_mounts() and is_mount_point(volume.data_path)) or is_data_empty(volume.fd)

    def make_stage(self, volume: VolumeDirectory, staging_fd: int, token: str) -> None:
        raise Unsupported(f"populate {volume.name}", "its data is a subvolume")

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        return measure_directory(volume, stop)

    def counted(self, volume: VolumeDirectory) -> Measurement | None:
        with entered(volume.fd, DATA) as data_fd:
            group = btrfs.quota_group(data_fd)
        return Measurement(group.used_bytes, group.used_bytes, -1, 0) if group else None

    def limits(self, volume: VolumeDirectory) -> Limits:
        return Limits(self.options.quota_bytes, 0, MECHANISM) if self.options.quota_bytes else Limits()

    def limit(self, volume: VolumeDirectory, wanted: MountOptions) -> None:
        if wanted.inodes:
            hint = f"Copy it to one with this limit: orlop volume cp --opt inodes={wanted.inodes} {volume.name} NEW"
            raise Unsupported(f"limit volume {volume.name}", "btrfs limits no inodes", hint)
        with entered(volume.fd, DATA) as data_fd:
            if 0 < wanted.quota_bytes < (self.options.quota_bytes or wanted.quota_bytes + 1):
                sync_file_system(data_fd)  # btrfs counts what was written when it commits
            group = btrfs.quota_group(data_fd)
            if group and 0 < wanted.quota_bytes < group.used_bytes:
                raise Conflict(
                    f"limit volume {volume.name}",
                    f"it holds {describe_size(group.used_bytes)}, more than {describe_size(wanted.quota_bytes)}",
                )
            self._hold(data_fd, wanted)

    def _hold(self, data_fd: int, wanted: MountOptions) -> None:
        group = btrfs.quota_group(data_fd)
        if (group.limit_bytes if group else 0) == wanted.quota_bytes:
            return
        if group is None:
            btrfs.enable_quota(data_fd)
        btrfs.set_limit(data_fd, wanted.quota_bytes)


def is_subvolume(volume: VolumeDirectory) -> bool:
    # What somebody mounted there is no subvolume of ours, and a look at it may never come back.
    if filesystem_name(volume.fd) != "btrfs" or is_mount_point(volume.data_path):
        return False
    try:
        details = os.lstat(DATA, dir_fd=volume.fd)
    except FileNotFoundError:
        return False
    return btrfs.is_top_inode(details.st_ino)


def subvolume_of(volume: VolumeDirectory) -> int:
    """0 where `_data` is none."""
    if not is_subvolume(volume):
        return 0
    with entered(volume.fd, DATA) as data_fd:
        return btrfs.subvolume_id(data_fd)


def destroy_data(volume: VolumeDirectory) -> None:
    """`_data` of a volume that is being deleted, if it is a subvolume, with its quota group. Where this is refused (it
    holds another subvolume) the walk over the tree does it."""
    subvolume = subvolume_of(volume)
    if not subvolume:
        return
    try:
        btrfs.destroy_subvolume(volume.fd, DATA)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EPERM, errno.EBUSY):
            return
        raise
    btrfs.remove_quota_group(volume.fd, subvolume)
