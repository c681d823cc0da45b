"""Filling an empty volume all at once: a directory out of sight, put in the place of `_data` when it is complete."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from orlop.errors import Conflict
from orlop.kernel.rename import rename_if_absent
from orlop.store.trees import copy_attributes

DATA = "_data"
Finish = Callable[[int], None]  # last touches to the top directory, given its descriptor; harmless when repeated
HIDDEN = ".orlop-"  # what begins so in a volume is staged there (local_staging_within)
_EXT_ROOT = 2  # inode of the top directory of ext2, 3 and 4
_TAKEN = "lost+found"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_empty(directory_fd: int) -> bool:
    with os.scandir(directory_fd) as entries:
        return next(iter(entries), None) is None


def holds_something(data_fd: int) -> bool:
    """Anything but what is staged, and what mkfs put there."""
    found = [name for name in os.listdir(data_fd) if not name.startswith(HIDDEN)]
    return bool(found) and not (found == [_TAKEN] and _is_made_by_mkfs(data_fd))


def _is_made_by_mkfs(data_fd: int) -> bool:
    if os.fstat(data_fd).st_ino != _EXT_ROOT:
        return False
    try:
        fd = os.open(_TAKEN, _DIRECTORY, dir_fd=data_fd)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    try:
        return is_empty(fd)
    finally:
        os.close(fd)


def is_data_empty(volume_fd: int) -> bool:
    data_fd = os.open(DATA, _DIRECTORY, dir_fd=volume_fd)
    try:
        return is_empty(data_fd)
    finally:
        os.close(data_fd)


def put_in_place(name: str, volume_fd: int, staging_fd: int, token: str, finish: Finish) -> None:
    """In one step: rename(2) puts a directory in the place of an empty one, and of an empty one only."""
    try:
        fd = os.open(token, _DIRECTORY, dir_fd=staging_fd)
        try:
            finish(fd)
        finally:
            os.close(fd)
        os.rename(token, DATA, src_dir_fd=staging_fd, dst_dir_fd=volume_fd)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Conflict(f"populate {name}", "somebody wrote into the volume meanwhile") from error
        raise
    os.fsync(volume_fd)
    os.fsync(staging_fd)


def move_entries(volume_fd: int, staging_fd: int, token: str, finish: Finish) -> None:
    """Entry by entry, each of them whole, into the directory that others have open. Where one of them meanwhile made
    an entry of that name, theirs stays."""
    try:
        source_fd = os.open(token, _DIRECTORY, dir_fd=staging_fd)
    except FileNotFoundError:
        return
    try:
        times = os.fstat(source_fd)  # before the moves change them
        data_fd = os.open(DATA, _DIRECTORY, dir_fd=volume_fd)
        try:
            for entry in sorted(os.listdir(source_fd)):
                with suppress(FileExistsError):
                    rename_if_absent(source_fd, entry, data_fd, entry)
            copy_attributes(source_fd, data_fd)
            finish(data_fd)
            os.utime(data_fd, ns=(times.st_atime_ns, times.st_mtime_ns))
            os.fsync(data_fd)
        finally:
            os.close(data_fd)
    finally:
        os.close(source_fd)
