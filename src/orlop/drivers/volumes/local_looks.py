"""What a local volume looks like from outside: where it is, how old, and what is wrong with it.

Only the volume's own directory is looked at, never what is mounted on `_data`, whose server may not answer.
"""

import logging
import os
import stat
from collections.abc import Iterable

from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.local_changes import finish_change
from orlop.drivers.volumes.local_image import IMAGE, has_image
from orlop.drivers.volumes.local_record import read_options
from orlop.drivers.volumes.volume_directory import (
    CHANGE,
    DATA,
    METADATA,
    OPTIONS,
    VolumeDirectory,
    VolumesRoot,
    sweep,
)
from orlop.errors import HostFailure, OrlopError

log = logging.getLogger(__name__)


def look_at(root: VolumesRoot, name: str) -> StoredVolume | None:
    """None where there is no volume. One that the disk fails to show keeps nobody from seeing the others."""
    try:
        with root.open(name) as volume:
            plain = _plain(volume)
            if plain is not None:
                return plain
            entries = set(os.listdir(volume.fd))
            if any(entry == CHANGE or entry.startswith(".") for entry in entries):
                finish(volume, entries)
            if OPTIONS in entries:
                _keep_for_owner(volume)
            return None if entries.isdisjoint((DATA, OPTIONS, METADATA)) else stored(volume)
    except (OrlopError, FileNotFoundError):
        return None
    except OSError as error:
        path = root.path / name
        return StoredVolume(name, str(path / DATA), 0, f"{path} cannot be looked at: {error.strerror}")


def _keep_for_owner(volume: VolumeDirectory) -> None:
    """Options may hold a password, and who put them there by hand may not have thought of that."""
    try:
        details = os.lstat(OPTIONS, dir_fd=volume.fd)
        if stat.S_ISREG(details.st_mode) and details.st_mode & 0o077:
            fd = os.open(OPTIONS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=volume.fd)
            try:
                os.fchmod(fd, 0o600)
            finally:
                os.close(fd)
    except OSError as error:
        log.warning("volume %s: others may read its options: %s", volume.name, error)


def _plain(volume: VolumeDirectory) -> StoredVolume | None:
    """What nearly all volumes are: data, the record, nothing else to be read. A start looks at every one of them, so
    this looks once. None: it takes more."""
    with os.scandir(volume.fd) as entries:
        kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    if not kinds.pop(DATA, False) or kinds.keys() - {METADATA}:
        return None
    mountpoint = f"{volume.path}/{DATA}"
    return StoredVolume(volume.name, mountpoint, os.fstat(volume.fd).st_ctime_ns)


def stored(volume: VolumeDirectory) -> StoredVolume:
    # ctime, as Docker has it: the mtime of the directory changes with every use.
    return StoredVolume(volume.name, str(volume.data_path), os.fstat(volume.fd).st_ctime_ns, problem_of(volume))


def finish(volume: VolumeDirectory, entries: Iterable[str] = ()) -> None:
    """What a crash cut off. Readers see a change as it is; where the disk refuses, it is tried again."""
    try:
        sweep(volume.fd, entries)
        finish_change(volume)
    except (OrlopError, OSError) as error:
        log.warning("volume %s: a change stays half written: %s", volume.name, error)


def problem_of(volume: VolumeDirectory) -> str:
    try:
        # The entry's type, not a stat of what may be mounted there, whose server may not answer.
        with os.scandir(volume.fd) as entries:
            found = next((entry for entry in entries if entry.name == DATA), None)
            is_directory = found is not None and found.is_dir(follow_symlinks=False)
        if found is None:
            return f"its data directory {volume.data_path} is missing"
        if not is_directory:
            return f"{volume.data_path} is not a directory"
        if read_options(volume).in_image and not has_image(volume):
            return f"{volume.path / IMAGE}, which its data is in, is missing"
    except HostFailure as error:
        return error.why
    return ""
