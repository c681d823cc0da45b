"""Limits on any file system: the volume is a file system of its own in a sparse file.

    <root>/<name>/disk.img         0600, ext4 or XFS (local_image_format); takes as much of the disk as is stored in it
    <root>/<name>/disk.img.new     one of another size that is being filled, to take its place

It is attached by a loop device and mounted on `_data` while somebody uses the volume (mounted_uses). The device clears
itself when the mount goes, and before it is mounted when this process dies; and an image never has two, for each would
have a cache of its own. What is done to an image out of use is done through a detached mount, which a crash takes away.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orlop.drivers.volumes.abilities import Limits, Measurement
from orlop.drivers.volumes.local_image_file import (
    attached_image,
    grow_image,
    image_size,
    make_image,
    mount_image,
    mounted_nowhere,
    opened_image,
)
from orlop.drivers.volumes.local_image_format import format_of
from orlop.drivers.volumes.local_owner import give_owner, give_pending_owner
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_staging import is_empty
from orlop.drivers.volumes.local_usage import measure
from orlop.drivers.volumes.mounted_uses import attach_mounted, detach_mounted
from orlop.drivers.volumes.volume_directory import (
    DATA,
    VolumeDirectory,
    entered,
    exists,
    make_data_directory,
    remove_data_directory,
)
from orlop.errors import Conflict, HostFailure, OrlopError, Unsupported
from orlop.kernel.filesystems import FileSystemSize
from orlop.kernel.libc import sync_file_system
from orlop.kernel.loop import find_loop_device, is_in_use
from orlop.kernel.mounts import move_mount, read_mounts
from orlop.model.sizes import describe_size
from orlop.model.value import dataclass
from orlop.store.trees import copy_tree

log = logging.getLogger(__name__)

IMAGE, NEW_IMAGE = "disk.img", "disk.img.new"
ELSEWHERE_SECONDS = 3.0  # for other mount namespaces to let go of what is unmounted here


def has_image(volume: VolumeDirectory) -> bool:
    return exists(volume.fd, IMAGE)


@dataclass(frozen=True, slots=True)
class ImageContent:
    options: MountOptions
    is_directory = False
    is_stageable = False

    def make(self, volume: VolumeDirectory) -> None:
        make_data_directory(volume)
        _make(volume, IMAGE, self.options)

    def discard(self, volume: VolumeDirectory) -> None:
        if has_image(volume):
            self._refuse_used(volume)
        remove_data_directory(volume)
        for name in (NEW_IMAGE, IMAGE):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=volume.fd)

    def _refuse_used(self, volume: VolumeDirectory) -> None:
        with opened_image(volume.fd, IMAGE, f"discard volume {volume.name}") as image_fd:
            if is_in_use(image_fd):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            with mounted_nowhere(image_fd, f"discard volume {volume.name}") as top_fd:
                if not is_empty(top_fd):
                    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        attach_mounted(volume, use_id, mount=lambda: self._mount(volume))
        try:
            _check_mounted(volume)
            give_pending_owner(volume, self.options)
        except BaseException:
            detach_mounted(volume, use_id)
            raise

    def _mount(self, volume: VolumeDirectory) -> None:
        subject = f"attaching volume {volume.name}"
        with suppress(FileNotFoundError):
            os.unlink(NEW_IMAGE, dir_fd=volume.fd)
        with opened_image(volume.fd, IMAGE, subject) as image_fd:
            if not find_loop_device(image_fd) and image_size(image_fd).bytes < self.options.quota_bytes:
                self._finish_growing(image_fd, subject)
            with attached_image(image_fd, subject) as (_, device), entered(volume.fd, DATA) as data_fd:
                tree_fd = mount_image(image_fd, device, subject)
                try:
                    move_mount(tree_fd, data_fd)
                finally:
                    os.close(tree_fd)

    def _finish_growing(self, image_fd: int, subject: str) -> None:
        """What a crash cut off. Less room than it should have is no reason to refuse the data."""
        try:
            grow_image(image_fd, subject, self.options.quota_bytes)
        except (OrlopError, OSError) as error:
            log.warning("%s: it stays smaller than its limit: %s", subject, error)

    def is_empty(self, volume: VolumeDirectory) -> bool:
        if _is_mounted(volume):
            with entered(volume.fd, DATA) as data_fd:
                return is_empty(data_fd)
        return _size(volume).used_inodes == 0

    def make_stage(self, volume: VolumeDirectory, staging_fd: int, token: str) -> None:
        raise Unsupported(f"populate {volume.name}", "its content is mounted")

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        if not _is_mounted(volume):
            return self.counted(volume)
        with entered(volume.fd, DATA) as data_fd:
            return measure(data_fd, stop)

    def counted(self, volume: VolumeDirectory) -> Measurement | None:
        size = _size(volume)
        return Measurement(size.used_bytes, size.used_bytes, size.used_inodes, 0)

    def limits(self, volume: VolumeDirectory) -> Limits:
        with opened_image(volume.fd, IMAGE, f"volume {volume.name}") as image_fd:
            found = format_of(image_fd, f"volume {volume.name}")
        return Limits(self.options.quota_bytes, self.options.inodes, f"image file ({found.fs_type})")

    def limit(self, volume: VolumeDirectory, wanted: MountOptions) -> None:
        subject = f"limit volume {volume.name}"
        if not wanted.quota_bytes:
            hint = f"Copy it to one without: orlop volume cp --opt-rm size {volume.name} NEW"
            raise Unsupported(subject, "its limit is the size of the file that it is kept in", hint)
        size = _size_now(volume, subject)
        if wanted.quota_bytes < size.used_bytes:
            why = f"it holds {describe_size(size.used_bytes)}, more than {describe_size(wanted.quota_bytes)}"
            raise Conflict(subject, why)
        if 0 < wanted.inodes < size.used_inodes:
            raise Conflict(subject, f"it holds {size.used_inodes} files and directories, more than {wanted.inodes}")
        if wanted.inodes != self.options.inodes or wanted.quota_bytes < self.options.quota_bytes:
            _replace(volume, wanted)
            return
        with opened_image(volume.fd, IMAGE, subject) as image_fd:
            try:
                grow_image(image_fd, subject, wanted.quota_bytes)
                return
            except PermissionError:
                log.info("%s: the kernel lets this process not grow it (CAP_SYS_RESOURCE); it is copied", subject)
        _replace(volume, wanted)


def _make(volume: VolumeDirectory, name: str, options: MountOptions) -> None:
    subject = f"create {volume.name}"
    make_image(volume.fd, name, subject, options.quota_bytes, options.inodes, lambda fd: give_owner(fd, options))


def _replace(volume: VolumeDirectory, wanted: MountOptions) -> None:
    """Copy it into an image of the wanted size, which then takes its place in one step. Only while nobody uses it."""
    subject = f"limit volume {volume.name}"
    with opened_image(volume.fd, IMAGE, subject) as image_fd:
        _await_its_end(volume, image_fd, subject)
        with suppress(FileNotFoundError):
            os.unlink(NEW_IMAGE, dir_fd=volume.fd)
        try:
            _make(volume, NEW_IMAGE, wanted)
            _copy(volume, image_fd, subject)
            os.rename(NEW_IMAGE, IMAGE, src_dir_fd=volume.fd, dst_dir_fd=volume.fd)
        except BaseException as error:
            with suppress(FileNotFoundError):
                os.unlink(NEW_IMAGE, dir_fd=volume.fd)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise Conflict(subject, "what it holds does not fit") from error
            raise
    os.fsync(volume.fd)


def _await_its_end(volume: VolumeDirectory, image_fd: int, subject: str) -> None:
    """Of what no container here uses any more: whoever starts a container takes a copy of all mounts along, and lets go
    of it only once that container has begun."""
    last_look = time.monotonic() + (0.0 if _is_mounted(volume) else ELSEWHERE_SECONDS)
    while is_in_use(image_fd):
        if time.monotonic() >= last_look:
            hint = "Stop the containers that use it and try again"
            raise Conflict(subject, "it is in use, and such a change takes a copy of its file system", hint)


def _copy(volume: VolumeDirectory, image_fd: int, subject: str) -> None:
    with opened_image(volume.fd, NEW_IMAGE, subject) as new_fd:
        with (
            mounted_nowhere(image_fd, subject, read_only=True) as source_fd,
            mounted_nowhere(new_fd, subject) as target_fd,
        ):
            copy_tree(source_fd, target_fd, sync_ahead=True)
            sync_file_system(target_fd)
        os.fsync(new_fd)


def _is_mounted(volume: VolumeDirectory) -> bool:
    with entered(volume.fd, DATA) as data_fd:
        return os.fstat(data_fd).st_dev != os.fstat(volume.fd).st_dev


def _size(volume: VolumeDirectory) -> FileSystemSize:
    with opened_image(volume.fd, IMAGE, f"volume {volume.name}") as image_fd, entered(volume.fd, DATA) as data_fd:
        is_mounted = os.fstat(data_fd).st_dev != os.fstat(volume.fd).st_dev
        return image_size(image_fd, data_fd if is_mounted else None)


def _size_now(volume: VolumeDirectory, subject: str) -> FileSystemSize:
    """Also where another mount namespace still has it mounted: what is in the file is old as long as that lasts."""
    with opened_image(volume.fd, IMAGE, subject) as image_fd:
        if not _is_mounted(volume) and is_in_use(image_fd):
            with mounted_nowhere(image_fd, subject) as top_fd:
                return image_size(image_fd, top_fd)
    return _size(volume)


def _check_mounted(volume: VolumeDirectory) -> None:
    """Somebody may have mounted something else there, and a container must not take that for its data."""
    with opened_image(volume.fd, IMAGE, f"attaching volume {volume.name}") as image_fd:
        device = find_loop_device(image_fd)
    found = [entry for entry in read_mounts() if entry.mount_point == str(volume.data_path)]
    if device and found and found[-1].device == _number(device):
        return
    why = f"something else is mounted on {volume.data_path}"
    raise HostFailure(f"attaching volume {volume.name}", why, f"Unmount it first: umount {volume.data_path}")


def _number(device: str) -> str:
    found = Path(device).stat().st_rdev
    return f"{os.major(found)}:{os.minor(found)}"
