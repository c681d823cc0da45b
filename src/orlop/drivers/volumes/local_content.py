"""What gives `_data` its content: the seam at which forms of local volumes are added.

`content_of` chooses by opts.json and by what is on the disk; everything else in the driver asks the content and knows
no form. A content holds no state: what it needs to know is beside `_data` or in the kernel.

    PlainDirectory   `_data` itself
    MountedContent   what the options name, mounted on `_data` while somebody uses the volume
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orlop.drivers.volumes.driver import Measurement
from orlop.drivers.volumes.local_directory import DATA, DATA_MODE, VolumeDirectory, entered
from orlop.drivers.volumes.local_mount import is_expected, mount_options
from orlop.drivers.volumes.local_owner import give_owner, give_pending_owner
from orlop.drivers.volumes.local_record import read_options
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_staging import is_data_empty
from orlop.drivers.volumes.local_usage import measure
from orlop.drivers.volumes.local_uses import attach_mounted, detach_mounted, join_mounted
from orlop.kernel.mounts import is_mount_point, mounts_at_or_below, spelled


class Content(Protocol):
    """Of one volume. The caller holds the volume's lock (the engine's, one a name)."""

    @property
    def is_stageable(self) -> bool:
        """Whether another directory may be put in the place of `_data`."""

    def make(self, volume: VolumeDirectory) -> None:
        """`_data` and what belongs to it, in a volume that nobody sees yet. What was made when this fails is deleted
        with the volume's directory (remove_tree)."""

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        """`_data` has its content when this returns. Letting go needs no content: the marks of uses tell what is to be
        unmounted (local_uses), also where opts.json became unreadable meanwhile."""

    def is_empty(self, volume: VolumeDirectory) -> bool:
        """False when it certainly holds something."""

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        """As orlop.drivers.volumes.driver.Usage says."""


def content_of(volume: VolumeDirectory) -> Content:
    """Raises HostFailure where opts.json is unreadable."""
    return content_for(read_options(volume))


def content_for(options: MountOptions) -> Content:
    if options.needs_mount:
        return MountedContent(options)
    return PlainDirectory(options)


@dataclass(frozen=True, slots=True)
class PlainDirectory:
    options: MountOptions
    is_stageable = True

    def make(self, volume: VolumeDirectory) -> None:
        make_data_directory(volume)
        if self.options.has_owner:
            with entered(volume.fd, DATA) as data_fd:
                give_owner(data_fd, self.options)

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        if not join_mounted(volume, use_id):
            give_pending_owner(volume, self.options)

    def is_empty(self, volume: VolumeDirectory) -> bool:
        # What somebody mounted there is not looked at: it may not answer, and this is asked while others wait.
        return is_mount_point(volume.data_path) or is_data_empty(volume.fd)

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        mounted = mounts_at_or_below(volume.path)
        if any(entry.mount_point == spelled(volume.data_path) for entry in mounted):
            return None  # neither ours to walk, nor sure to answer
        with entered(volume.fd, DATA) as data_fd:
            return measure(data_fd, stop, has_mounts=bool(mounted))


@dataclass(frozen=True, slots=True)
class MountedContent:
    options: MountOptions
    is_stageable = False

    def make(self, volume: VolumeDirectory) -> None:
        make_data_directory(volume)

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        attach_mounted(
            volume,
            use_id,
            mount=lambda: mount_options(volume.data_path, self.options),
            is_expected=lambda entry: is_expected(entry, self.options),
        )
        try:
            give_pending_owner(volume, self.options)
        except BaseException:
            detach_mounted(volume, use_id)
            raise

    def is_empty(self, volume: VolumeDirectory) -> bool:
        return True

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        return None  # what is mounted there is not ours to walk, and may not answer


def make_data_directory(volume: VolumeDirectory) -> None:
    """The umask was in mkdir's way, so the mode is set again."""
    os.mkdir(DATA, DATA_MODE, dir_fd=volume.fd)
    os.chmod(DATA, DATA_MODE, dir_fd=volume.fd)
