"""What gives `_data` its content: the seam at which forms of local volumes are added.

`content_of` chooses by what is on the disk and by opts.json, `new_content` by opts.json and what the file system can;
everything else in the driver asks the content and knows no form. A content holds no state: what it needs to know is
beside `_data` or in the kernel.

    PlainDirectory      `_data` itself
    MountedContent      what the options name, mounted on `_data` while somebody uses the volume
    ImageContent        a file system in `disk.img` beside it, mounted likewise: a limit everywhere    (local_image)
    SubvolumeContent    `_data` is a btrfs subvolume with a limit                                      (local_subvolume)
    ProjectContent      `_data` has a project number with a limit, on ext4 and XFS                     (local_project)
"""

import logging
import os
from collections.abc import Callable
from typing import Protocol

from orlop.drivers.volumes.abilities import Limits, Measurement
from orlop.drivers.volumes.local_image import ImageContent, has_image
from orlop.drivers.volumes.local_mount import is_expected, mount_options, resize_memory
from orlop.drivers.volumes.local_owner import give_owner, give_pending_owner
from orlop.drivers.volumes.local_project import ProjectContent, hold_project
from orlop.drivers.volumes.local_record import read_options
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_staging import holds_something, is_data_empty
from orlop.drivers.volumes.local_subvolume import SubvolumeContent, is_subvolume
from orlop.drivers.volumes.local_usage import measure_directory, measure_mounted
from orlop.drivers.volumes.mounted_uses import attach_mounted, detach_mounted, is_foreign, join_mounted, seen_mount
from orlop.drivers.volumes.volume_directory import (
    DATA,
    VolumeDirectory,
    entered,
    make_data_directory,
    remove_data_directory,
)
from orlop.errors import Conflict, Unsupported
from orlop.kernel.filesystems import filesystem_name
from orlop.kernel.mounts import is_mount_point
from orlop.model.value import dataclass

log = logging.getLogger(__name__)


class Content(Protocol):
    """Of one volume. The caller holds the volume's lock (the engine's, one a name)."""

    @property
    def is_directory(self) -> bool:
        """Whether the bytes lie in `_data` itself, so that its owner can be changed at any time."""

    @property
    def is_stageable(self) -> bool:
        """Whether another directory may be put in the place of `_data`."""

    def make(self, volume: VolumeDirectory) -> None:
        """`_data` and what belongs to it, in a volume that nobody sees yet. What was made when this fails is deleted
        with the volume's directory (remove_tree)."""

    def discard(self, volume: VolumeDirectory) -> None:
        """Remove `_data` and what belongs to it. Raises OSError (ENOTEMPTY, EBUSY) where it holds something or somebody
        uses it, having removed nothing; gone already is success."""

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        """`_data` has its content when this returns. Letting go needs no content: the marks of uses tell what is to be
        unmounted (mounted_uses), also where opts.json became unreadable meanwhile."""

    def is_empty(self, volume: VolumeDirectory) -> bool:
        """False when it certainly holds something."""

    def make_stage(self, volume: VolumeDirectory, staging_fd: int, token: str) -> None:
        """An empty directory that can take the place of `_data`."""

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        """As orlop.drivers.volumes.abilities.Usage says, and so are the next two."""

    def counted(self, volume: VolumeDirectory) -> Measurement | None: ...

    def limits(self, volume: VolumeDirectory) -> Limits: ...

    def limit(self, volume: VolumeDirectory, wanted: MountOptions) -> None:
        """Hold it below the limits of `wanted` from now on (none, where these are 0). Called before the change is
        written down, and again after a crash. Raises Conflict, Unsupported as Changing.change says."""


def content_of(volume: VolumeDirectory, options: MountOptions | None = None) -> Content:
    """Of a volume that is there; `options` stand for opts.json. Raises HostFailure where that is unreadable."""
    if options is None:
        options = read_options(volume)
    if options.needs_mount:
        return MountedContent(options)
    if options.in_image or has_image(volume):
        return ImageContent(options)
    if is_subvolume(volume):
        return SubvolumeContent(options)
    if options.is_limited and volume.projects.is_enforced(volume.fd):
        return ProjectContent(options)
    return PlainDirectory(options)


def new_content(volume: VolumeDirectory, options: MountOptions) -> Content:
    """Of a volume that is about to be made in this directory."""
    if options.needs_mount:
        return MountedContent(options)
    if not options.is_limited:
        return PlainDirectory(options)
    if volume.projects.is_enforced(volume.fd):
        return ProjectContent(options)
    if filesystem_name(volume.fd) == "btrfs" and not options.inodes:
        return SubvolumeContent(options)
    return ImageContent(options)


def change_limit(volume: VolumeDirectory, wanted: MountOptions, before: MountOptions | None) -> None:
    """Hold it below the limits of `wanted`, if they are others than `before` (None: not known)."""
    before = before or MountOptions()
    if wanted.needs_mount and has_image(volume):
        hint = "Make another volume with these options"
        raise Conflict(f"update {volume.name}", "its data is in a file of its own, which they would hide", hint)
    if before.needs_mount and not wanted.needs_mount:
        PlainDirectory(wanted).limit(volume, wanted)
    elif (before.quota_bytes, before.inodes) != (wanted.quota_bytes, wanted.inodes):
        content_of(volume, before).limit(volume, wanted)


@dataclass(frozen=True, slots=True)
class PlainDirectory:
    options: MountOptions
    is_directory = True
    is_stageable = True

    def make(self, volume: VolumeDirectory) -> None:
        make_data_directory(volume)
        if self.options.has_owner:
            with entered(volume.fd, DATA) as data_fd:
                give_owner(data_fd, self.options)

    def discard(self, volume: VolumeDirectory) -> None:
        remove_data_directory(volume)

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        if self.options.is_limited:
            # It came from elsewhere, or its file system was mounted with quota before. Its data is no less for that.
            log.warning("volume %s is not kept below its limit: its file system has no quota", volume.name)
        if not join_mounted(volume, use_id):
            give_pending_owner(volume, self.options)

    def is_empty(self, volume: VolumeDirectory) -> bool:
        # What somebody mounted there is not looked at: it may not answer, and this is asked while others wait.
        return (volume.may_have_mounts() and is_mount_point(volume.data_path)) or is_data_empty(volume.fd)

    def make_stage(self, volume: VolumeDirectory, staging_fd: int, token: str) -> None:
        os.mkdir(token, 0o700, dir_fd=staging_fd)

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        return measure_directory(volume, stop)

    def counted(self, volume: VolumeDirectory) -> Measurement | None:
        return None

    def limits(self, volume: VolumeDirectory) -> Limits:
        return Limits()

    def limit(self, volume: VolumeDirectory, wanted: MountOptions) -> None:
        if not wanted.is_limited:
            return
        if not volume.projects.is_enforced(volume.fd):
            why = f"it is a directory on a file system ({filesystem_name(volume.fd)}) without project quota"
            limit = f"--opt size={wanted.quota_bytes}" + (f" --opt inodes={wanted.inodes}" if wanted.inodes else "")
            hint = f"Copy it to one with this limit: orlop volume cp {limit} {volume.name} NEW"
            raise Unsupported(f"limit volume {volume.name}", why, hint)
        hold_project(volume, wanted)


@dataclass(frozen=True, slots=True)
class MountedContent:
    options: MountOptions
    is_directory = False
    is_stageable = False

    def make(self, volume: VolumeDirectory) -> None:
        make_data_directory(volume)

    def discard(self, volume: VolumeDirectory) -> None:
        remove_data_directory(volume)

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        attach_mounted(
            volume,
            use_id,
            mount=lambda: mount_options(volume.data_path, self.options, volume.resolve_secrets),
            is_expected=lambda entry: is_expected(entry, self.options),
        )
        try:
            give_pending_owner(volume, self.options)
        except BaseException:
            detach_mounted(volume, use_id)
            raise

    def is_empty(self, volume: VolumeDirectory) -> bool:
        """Memory that nobody uses is not worth filling: it would be gone when it is full."""
        mounted = seen_mount(volume)
        if mounted is None:
            return self.options.fs_type != "tmpfs"
        if is_foreign(mounted.source, mounted.fs_type):
            return True  # it may not answer, and this is asked while others wait
        with entered(volume.fd, DATA) as data_fd:
            return not holds_something(data_fd)

    def make_stage(self, volume: VolumeDirectory, staging_fd: int, token: str) -> None:
        raise Unsupported(f"populate {volume.name}", "something is mounted in the volume")

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        return measure_mounted(volume, stop)

    def counted(self, volume: VolumeDirectory) -> Measurement | None:
        return None

    def limits(self, volume: VolumeDirectory) -> Limits:
        if not self.options.is_limited:
            return Limits()
        return Limits(self.options.quota_bytes, self.options.inodes, "tmpfs")

    def limit(self, volume: VolumeDirectory, wanted: MountOptions) -> None:
        """Only memory takes one (local_rules); the rest holds from the next mount."""
        if wanted.fs_type == self.options.fs_type == "tmpfs" and wanted.is_limited:
            resize_memory(volume.data_path, wanted)
