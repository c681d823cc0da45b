"""Filling an empty volume whose content is a file system of its own, or mounted from elsewhere.

Nothing beside `_data` can be renamed into it, so what is staged lies in it, under a hidden name that root alone may
enter, and `.staging/<token>` is a file that says in which volume.

    .orlop-<token>          being copied into; a crash leaves it to be thrown away
    .orlop-<token>.moving   whole, and decided: what is in it is moved into place, by whoever comes next after a crash

The volume is attached meanwhile, by a use of its own. Containers may be in it and change anything at any time; each
step is taken from descriptors, so that what they do stays their own trouble.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orlop.drivers.volumes.local_content import Content, MountedContent, content_of
from orlop.drivers.volumes.local_staging import HIDDEN, Finish, holds_something
from orlop.drivers.volumes.mounted_uses import detach_mounted, is_attached, is_foreign
from orlop.drivers.volumes.volume_directory import (
    DATA,
    STAGING,
    VolumeDirectory,
    VolumesRoot,
    entered,
    exists,
    read_file,
    write_file,
)
from orlop.errors import Conflict, NotFound, Unavailable
from orlop.kernel.answering import require_answer
from orlop.kernel.mounts import is_mount_point
from orlop.kernel.rename import rename_if_absent
from orlop.store.files import remove_tree_at
from orlop.store.trees import copy_attributes

_MOVING = ".moving"
_ANSWER_SECONDS = 10.0


def is_staged_within(root: VolumesRoot, token: str) -> bool:
    with root.folder(STAGING) as staging_fd:
        try:
            return stat.S_ISREG(os.lstat(token, dir_fd=staging_fd).st_mode)
        except FileNotFoundError:
            return False


def stage_within(root: VolumesRoot, volume: VolumeDirectory, content: Content, token: str) -> Path:
    """Raises Conflict where it is not empty, or read-only."""
    with root.folder(STAGING) as staging_fd:
        write_file(staging_fd, token, volume.name, sync=True)
    try:
        content.attach(volume, _use_of(token))
        _expect_answer(volume, content)
        with entered(volume.fd, DATA) as data_fd:
            for left in _tokens_in(root, volume):
                if left != token:
                    _throw_away(volume, data_fd, left)
                    _forget(root, volume, left)
            if holds_something(data_fd):
                raise Conflict(f"populate {volume.name}", "the volume is not empty")
            _make_hidden(volume, data_fd, token)
    except BaseException:
        _forget(root, volume, token)
        raise
    return volume.data_path / f"{HIDDEN}{token}"


def publish_within(root: VolumesRoot, name: str, token: str, in_use: bool, finish: Finish) -> None:
    with root.open(name, exclusive=True) as volume:
        content_of(volume).attach(volume, _use_of(token))
        with entered(volume.fd, DATA) as data_fd:
            staged = f"{HIDDEN}{token}"
            if exists(data_fd, staged):
                if not in_use and holds_something(data_fd):
                    raise Conflict(f"populate {name}", "somebody wrote into the volume meanwhile")
                os.rename(staged, f"{staged}{_MOVING}", src_dir_fd=data_fd, dst_dir_fd=data_fd)
                os.fsync(data_fd)
            _move(volume, data_fd, token, finish)
        _forget(root, volume, token)


def finish_within(root: VolumesRoot, volume: VolumeDirectory, finish: Finish) -> None:
    """What was decided and a crash cut off, where the storage did not answer at the start. It is attached."""
    for token in _tokens_in(root, volume):
        with entered(volume.fd, DATA) as data_fd:
            if exists(data_fd, f"{HIDDEN}{token}{_MOVING}"):
                _move(volume, data_fd, token, finish)
                _forget(root, volume, token)


def unstage_within(root: VolumesRoot, token: str) -> None:
    """Where that would have to wait for somebody else's storage it is left for the next copy-up of that volume."""
    with root.folder(STAGING) as staging_fd:
        name = read_file(staging_fd, token)
    try:
        with root.open(name, exclusive=True) as volume:
            content = content_of(volume)
            if not is_attached(volume) and _may_wait(content):
                return
            content.attach(volume, _use_of(token))
            with entered(volume.fd, DATA) as data_fd:
                _throw_away(volume, data_fd, token)
            _forget(root, volume, token)
    except NotFound:
        with root.folder(STAGING) as staging_fd:
            os.unlink(token, dir_fd=staging_fd)


def _make_hidden(volume: VolumeDirectory, data_fd: int, token: str) -> None:
    try:
        os.mkdir(f"{HIDDEN}{token}", 0o700, dir_fd=data_fd)
    except OSError as error:
        if error.errno == errno.EROFS:
            raise Conflict(f"populate {volume.name}", "it is mounted read-only") from error
        raise


def _move(volume: VolumeDirectory, data_fd: int, token: str, finish: Finish) -> None:
    """Each entry whole. Where somebody meanwhile made an entry of that name, theirs stays."""
    moving = f"{HIDDEN}{token}{_MOVING}"
    if not exists(data_fd, moving):
        return
    with entered(data_fd, moving) as source_fd:
        times = os.fstat(source_fd)  # before the moves change them
        for entry in sorted(os.listdir(source_fd)):
            with suppress(FileExistsError):
                rename_if_absent(source_fd, entry, data_fd, entry)
        copy_attributes(source_fd, data_fd)
        finish(data_fd)
        os.fsync(data_fd)
    remove_tree_at(data_fd, moving, str(volume.data_path / moving))
    os.utime(data_fd, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.fsync(data_fd)


def _throw_away(volume: VolumeDirectory, data_fd: int, token: str) -> None:
    for name in (f"{HIDDEN}{token}", f"{HIDDEN}{token}{_MOVING}"):
        remove_tree_at(data_fd, name, str(volume.data_path / name))


def _forget(root: VolumesRoot, volume: VolumeDirectory, token: str) -> None:
    """Last of all: until then a crash finds it staged."""
    detach_mounted(volume, _use_of(token))
    with root.folder(STAGING) as staging_fd, suppress(FileNotFoundError):
        os.unlink(token, dir_fd=staging_fd)


def _tokens_in(root: VolumesRoot, volume: VolumeDirectory) -> Iterator[str]:
    with root.folder(STAGING) as staging_fd:
        with os.scandir(staging_fd) as entries:
            tokens = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        for token in tokens:
            if read_file(staging_fd, token) == volume.name:
                yield token


def _expect_answer(volume: VolumeDirectory, content: Content) -> None:
    if not isinstance(content, MountedContent) and not is_mount_point(volume.data_path):
        return
    try:
        require_answer(str(volume.data_path), _ANSWER_SECONDS)
    except TimeoutError as error:
        hint = "Bring its server back, or create the container with nocopy"
        why = f"the storage under {volume.data_path} gave no answer"
        raise Unavailable(f"populate {volume.name}", why, hint) from error


def _may_wait(content: Content) -> bool:
    if not isinstance(content, MountedContent):
        return False
    return is_foreign(content.options.device, content.options.fs_type)


def _use_of(token: str) -> str:
    return hashlib.sha256(f"staging:{token}".encode()).hexdigest()
