"""Another name, other options: changes to a local volume that its data does not notice.

A rename is one rename(2) of the volume's directory. What is mounted in it moves along, and who has it open or mounted
keeps it.

A change of options concerns two files, so it is written down first, in `change.json`: from there on it is what readers
see, and whoever comes next puts it into opts.json and orlop.json.
"""

import os
from contextlib import suppress
from dataclasses import replace

from orlop.drivers.volumes.local_content import change_limit, content_of
from orlop.drivers.volumes.local_image import has_image
from orlop.drivers.volumes.local_owner import give_owner
from orlop.drivers.volumes.local_record import read_change, read_options, render_change, render_options
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_staging import is_data_empty
from orlop.drivers.volumes.volume_directory import (
    CHANGE,
    DATA,
    METADATA,
    OPTIONS,
    VolumeDirectory,
    VolumesRoot,
    entered,
    exists,
    read_file,
    replace_file,
)
from orlop.errors import Conflict, HostFailure, NoSuchVolume
from orlop.kernel.mounts import is_mount_point
from orlop.kernel.rename import rename_if_absent


def rename_volume(root: VolumesRoot, name: str, new_name: str, metadata: str) -> None:
    """As orlop.drivers.volumes.abilities.Renaming says. The record is written before: until the directory has its new
    name, a crash leaves the volume under the old one, and the same call goes on."""
    taken = Conflict(f"rename {name}", f"a volume with the name {new_name} is there already", "Choose another name")
    try:
        with root.open(name) as volume:
            if exists(root.fd, new_name):
                raise taken
            before = read_file(volume.fd, METADATA)
            replace_file(volume.fd, METADATA, metadata)
            try:
                rename_if_absent(root.fd, name, root.fd, new_name)
            except BaseException as error:
                replace_file(volume.fd, METADATA, before)
                if isinstance(error, FileExistsError):
                    raise taken from error
                raise
    except NoSuchVolume:
        if not _is_renamed(root, new_name, metadata):
            raise
    os.fsync(root.fd)


def _is_renamed(root: VolumesRoot, new_name: str, metadata: str) -> bool:
    try:
        with root.open(new_name) as volume:
            return read_file(volume.fd, METADATA) == metadata
    except NoSuchVolume:
        return False


def change_volume(volume: VolumeDirectory, wanted: MountOptions, keep_options: bool, metadata: str) -> None:
    """As orlop.drivers.volumes.abilities.Changing says; `wanted` was checked as for a create."""
    finish_change(volume)
    before = _options_before(volume)
    if wanted.needs_mount and not (before and before.needs_mount):
        _refuse_to_hide(volume, before)
    wanted = _with_owner_to_give(wanted, before)
    change_limit(volume, wanted, before)
    wanted = replace(wanted, in_image=has_image(volume))
    replace_file(volume.fd, CHANGE, render_change(wanted if keep_options else None, metadata))
    finish_change(volume)


def finish_change(volume: VolumeDirectory) -> None:
    """Nothing to do is success. Repeated after a crash it does the same again."""
    change = read_change(volume)
    if change is None:
        return
    options = change.options
    if options is None:
        with suppress(FileNotFoundError):
            os.unlink(OPTIONS, dir_fd=volume.fd)
    else:
        if options.owner_pending and content_of(volume, options).is_directory:
            with entered(volume.fd, DATA) as data_fd:
                give_owner(data_fd, options)
            options = replace(options, owner_pending=False)
        replace_file(volume.fd, OPTIONS, render_options(options))
    replace_file(volume.fd, METADATA, change.metadata)
    os.unlink(CHANGE, dir_fd=volume.fd)
    os.fsync(volume.fd)


def _options_before(volume: VolumeDirectory) -> MountOptions | None:
    """None where they are unreadable: giving it others is one way to mend a volume."""
    try:
        return read_options(volume)
    except HostFailure:
        return None


def _refuse_to_hide(volume: VolumeDirectory, before: MountOptions | None) -> None:
    if before is not None:
        is_empty = content_of(volume, before).is_empty(volume)
    else:
        is_empty = is_mount_point(volume.data_path) or is_data_empty(volume.fd)
    if not is_empty:
        why = "it holds data of its own, and what the options name would be mounted over it"
        raise Conflict(f"update {volume.name}", why, "Make another volume with these options")


def _with_owner_to_give(wanted: MountOptions, before: MountOptions | None) -> MountOptions:
    """A disk or directory gets an owner again only where the options name another one."""
    if not wanted.has_owner or wanted.fs_type == "tmpfs":
        return wanted
    if before is None or (wanted.uid, wanted.gid, wanted.mode) != (before.uid, before.gid, before.mode):
        return replace(wanted, owner_pending=True)
    moved = (wanted.fs_type, wanted.device) != (before.fs_type, before.device)
    return replace(wanted, owner_pending=moved or before.owner_pending)
