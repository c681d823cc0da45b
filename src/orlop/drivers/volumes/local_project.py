"""Limits by project quota: what lies in `_data` belongs to a project of its own, whose blocks and inodes the kernel
counts and limits (ext4 and XFS, mounted with prjquota).

The number of the project stands on the directory, and nowhere else: nothing is remembered by name or path, so a volume
that is made again under an old name cannot get an old number or none. A number is free when the kernel counts nothing
under it, whoever had it before, and whoever else gives numbers on this file system.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable

from orlop.drivers.volumes.abilities import Limits, Measurement
from orlop.drivers.volumes.local_owner import give_owner, give_pending_owner
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_staging import is_data_empty
from orlop.drivers.volumes.local_usage import measure_directory
from orlop.drivers.volumes.volume_directory import (
    DATA,
    VolumeDirectory,
    entered,
    make_data_directory,
    remove_data_directory,
)
from orlop.errors import Conflict, HostFailure
from orlop.kernel.mounts import is_mount_point
from orlop.kernel.openat2 import open_beneath
from orlop.model.sizes import describe_size
from orlop.model.value import dataclass

MECHANISM = "project quota"
_FIRST, _LAST = 1 << 20, 1 << 31  # far from the small numbers that people and other engines give
_TRIES = 100
_LOOKS, _PAUSE_SECONDS = 10, 0.05
_ENTRY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class ProjectContent:
    options: MountOptions
    is_directory = True
    is_stageable = True

    def make(self, volume: VolumeDirectory) -> None:
        make_data_directory(volume)
        with entered(volume.fd, DATA) as data_fd:
            give_owner(data_fd, self.options)
        hold_project(volume, self.options)

    def discard(self, volume: VolumeDirectory) -> None:
        project = project_of(volume)
        remove_data_directory(volume)
        free_project(volume, project)

    def attach(self, volume: VolumeDirectory, use_id: str) -> None:
        """Each time, because a copy put back from a backup has no number, and a file system that was mounted without
        quota for a while has old limits."""
        hold_project(volume, self.options)
        give_pending_owner(volume, self.options)

    def is_empty(self, volume: VolumeDirectory) -> bool:
        return (volume.may_have_mounts() and is_mount_point(volume.data_path)) or is_data_empty(volume.fd)

    def make_stage(self, volume: VolumeDirectory, staging_fd: int, token: str) -> None:
        """With the same number, or it could not be put in the place of `_data` nor be moved into it."""
        os.mkdir(token, 0o700, dir_fd=staging_fd)
        with entered(staging_fd, token) as stage_fd:
            volume.projects.assign(stage_fd, project_of(volume))

    def measure(self, volume: VolumeDirectory, stop: Callable[[], bool]) -> Measurement | None:
        return measure_directory(volume, stop)

    def counted(self, volume: VolumeDirectory) -> Measurement | None:
        project = project_of(volume)
        if not project:
            return None
        usage = volume.projects.usage(volume.fd, project)
        return Measurement(usage.used_bytes, usage.used_bytes, max(usage.used_inodes - 1, 0), 0)

    def limits(self, volume: VolumeDirectory) -> Limits:
        return Limits(self.options.quota_bytes, self.options.inodes, MECHANISM)

    def limit(self, volume: VolumeDirectory, wanted: MountOptions) -> None:
        hold_project(volume, wanted)


def hold_project(volume: VolumeDirectory, wanted: MountOptions) -> None:
    """Give the volume a project, unless it has one, and the project these limits."""
    quota = volume.projects
    with entered(volume.fd, DATA) as data_fd:
        project = quota.project(data_fd)
        if not project:
            project = _take_project(volume, data_fd)
            _assign_below(volume, data_fd, project)
    found = quota.usage(volume.fd, project)
    inodes = wanted.inodes + 1 if wanted.inodes else 0  # `_data` itself counts as well
    if (found.limit_bytes, found.limit_inodes) == (_rounded(wanted.quota_bytes), inodes):
        return
    # A limit that was lost is put back though more is stored meanwhile: nothing is lost, only nothing more comes in.
    if found.limit_bytes or found.limit_inodes:
        _refuse_less(volume, project, wanted)
    quota.limit(volume.fd, project, wanted.quota_bytes, inodes)


def _refuse_less(volume: VolumeDirectory, project: int, wanted: MountOptions) -> None:
    """Less than is stored. XFS goes on counting deleted files for a moment."""
    for last in (*[False] * _LOOKS, True):
        found = volume.projects.usage(volume.fd, project)
        too_large = 0 < wanted.quota_bytes < found.used_bytes
        too_many = 0 < wanted.inodes < found.used_inodes - 1
        if not (too_large or too_many):
            return
        if not last:
            time.sleep(_PAUSE_SECONDS)
    what = f"{describe_size(found.used_bytes)}, more than {describe_size(wanted.quota_bytes)}"
    if too_many:
        what = f"{found.used_inodes - 1} files and directories, more than {wanted.inodes}"
    raise Conflict(f"limit volume {volume.name}", f"it holds {what}")


def project_of(volume: VolumeDirectory) -> int:
    """0 where it has none, or where the file system knows no projects."""
    try:
        with entered(volume.fd, DATA) as data_fd:
            return volume.projects.project(data_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            return 0
        raise


def free_project(volume: VolumeDirectory, project: int) -> None:
    """After what belonged to it was deleted; as long as anything does, it stays as it is."""
    if not project or not volume.projects.is_enforced(volume.fd):
        return
    if not volume.projects.usage(volume.fd, project).used_inodes:
        volume.projects.limit(volume.fd, project, 0, 0)


def _take_project(volume: VolumeDirectory, data_fd: int) -> int:
    """A number that nobody has. Two who draw the same one at once see it by the count, and draw again."""
    quota = volume.projects
    for _ in range(_TRIES):
        project = _FIRST + secrets.randbelow(_LAST - _FIRST)
        before = quota.usage(data_fd, project)
        if before.used_inodes or before.used_bytes:
            continue
        quota.assign(data_fd, project)
        if quota.usage(data_fd, project).used_inodes == 1:
            return project
    quota.assign(data_fd, 0)
    raise HostFailure(f"limit volume {volume.name}", "no project number is free on its file system")


def _assign_below(volume: VolumeDirectory, top_fd: int, project: int) -> None:
    """Everything that is in it already. A directory goes before its entries, so that what is made meanwhile inherits.
    What is neither a file nor a directory cannot be opened, and holds nothing."""
    open_fds = [os.dup(top_fd)]
    waiting = [os.listdir(top_fd)]
    try:
        while open_fds:
            if not waiting[-1]:
                os.close(open_fds.pop())
                waiting.pop()
                continue
            fd = _open_entry(open_fds[-1], waiting[-1].pop())
            if fd is None:
                continue
            open_fds.append(fd)  # a file, too: the next round closes it
            volume.projects.assign(fd, project)
            waiting.append(os.listdir(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else [])
    finally:
        for fd in open_fds:
            os.close(fd)


def _open_entry(directory_fd: int, name: str) -> int | None:
    """None for what is no file and no directory, went, or became something else meanwhile."""
    try:
        details = os.lstat(name, dir_fd=directory_fd)
        if not (stat.S_ISDIR(details.st_mode) or stat.S_ISREG(details.st_mode)):
            return None
        return open_beneath(directory_fd, name, _ENTRY, no_symlinks=True, no_xdev=True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EXDEV):
            return None
        raise


def _rounded(size_bytes: int) -> int:
    return -(-size_bytes // 1024) * 1024
