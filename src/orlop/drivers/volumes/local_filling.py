"""Volumes that are made together with their data: a whole volume out of sight, which gets its name when it is full.

.staging/<token>  --prepare--> attached, being written to  --reveal--> detached, renamed to <root>/<name>

Whoever writes does so under a use of its own, named after the token: so what a crash left mounted can be let go.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orlop.drivers.volumes.local_content import content_of
from orlop.drivers.volumes.local_owner import give_owner
from orlop.drivers.volumes.local_record import read_options
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.mounted_uses import detach_mounted
from orlop.drivers.volumes.volume_directory import DATA, STAGING, VolumeDirectory, VolumesRoot, entered
from orlop.errors import Conflict, Unsupported
from orlop.kernel.libc import sync_file_system
from orlop.kernel.mounts import is_mount_point
from orlop.kernel.rename import rename_if_absent

_OWNER = frozenset({"uid", "gid", "mode", "o"})  # options that may say something of the top directory


def own_options(options: Mapping[str, str]) -> dict[str, str]:
    """What is mounted is named by these three together; `o` alone says something about the directory itself."""
    elsewhere = ("type", "device", "o") if options.get("type") or options.get("device") else ()
    return {key: value for key, value in options.items() if key not in elsewhere}


def check(wanted: MountOptions) -> None:
    if wanted.fs_type or wanted.device:
        raise Unsupported(
            "filling a new volume",
            "its options name storage that is mounted (type, device), and not a place of the volume's own",
            "Create it with these options, then: orlop volume cp SRC:/. - | orlop volume cp - NEW:/",
        )


def attach(root: VolumesRoot, token: str) -> Path:
    with _open(root, token) as volume:
        content_of(volume).attach(volume, _use_of(token))
        return volume.data_path


def reveal(root: VolumesRoot, token: str, name: str, asked_for: Collection[str]) -> None:
    with root.folder(STAGING) as staging_fd:
        try:
            with _open(root, token) as volume:
                with entered(volume.fd, DATA) as data_fd:
                    if not _OWNER.isdisjoint(asked_for):
                        give_owner(data_fd, read_options(volume))
                    sync_file_system(data_fd)
                detach_mounted(volume, _use_of(token))
                os.fsync(volume.fd)
        except FileNotFoundError:
            return
        try:
            rename_if_absent(staging_fd, token, root.fd, name)
        except FileExistsError as error:
            raise Conflict(f"create {name}", f"{root.path / name} is there already", "Choose another name") from error
        os.fsync(root.fd)
        os.fsync(staging_fd)


def let_go(root: VolumesRoot, token: str) -> None:
    """Unmount what is being filled, or was when the daemon died. Nothing there is success."""
    if not is_mount_point(root.path / STAGING / token / DATA):
        return  # what is staged is perhaps no volume but the content of one, in which any name means anything
    try:
        with _open(root, token) as volume:
            detach_mounted(volume, _use_of(token))
    except FileNotFoundError:
        return


@contextmanager
def _open(root: VolumesRoot, token: str) -> Iterator[VolumeDirectory]:
    with root.open_within(STAGING, token) as volume:
        yield volume


def _use_of(token: str) -> str:
    return hashlib.sha256(f"filling:{token}".encode()).hexdigest()
