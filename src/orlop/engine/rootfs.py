"""Small things done inside a container's file system before its process exists, never leaving it.

The tree is the image's and the container's to shape, so every path is resolved beneath it by openat2.
"""

import errno
import os
import stat
from pathlib import Path

from orlop.errors import HostFailure, Malformed
from orlop.kernel.openat2 import open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_rootfs(rootfs: Path) -> int:
    return os.open(rootfs, _DIRECTORY)


def make_directories(rootfs: Path, path: str) -> None:
    """The directory `path` and its parents exist, made 0755 and root's where they are missing (a container's working
    directory). Raises Malformed when something else is in the way."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return
    root_fd = open_rootfs(rootfs)
    try:
        try:
            os.close(open_in_root(root_fd, path, _DIRECTORY))
            return
        except FileNotFoundError:
            pass
        for depth in range(1, len(parts) + 1):
            _make_one(root_fd, "/".join(parts[: depth - 1]), parts[depth - 1])
    except NotADirectoryError as error:
        raise Malformed("", f"Cannot mkdir: {path} is not a directory", "Choose another working directory") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Malformed("", f"Cannot mkdir: {path} loops through symbolic links", "") from error
        raise
    finally:
        os.close(root_fd)


def refuse_file(rootfs: Path, path: str) -> None:
    """Raises HostFailure, in Docker's words but for the host's path, where `path` is there and is no directory."""
    root_fd = open_rootfs(rootfs)
    try:
        try:
            found = open_in_root(root_fd, path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return
            raise
        is_directory = stat.S_ISDIR(os.fstat(found).st_mode)
        os.close(found)
    finally:
        os.close(root_fd)
    if not is_directory:
        hint = "The image has a file there: give the volume another place in the container"
        raise HostFailure("", f"cannot mount volume over existing file, file exists {path}", hint)


def _make_one(root_fd: int, parent: str, name: str) -> None:
    parent_fd = open_in_root(root_fd, parent or ".", _DIRECTORY)
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            return
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
        try:
            os.fchmod(fd, 0o755)  # whatever the daemon's umask is
        finally:
            os.close(fd)
    finally:
        os.close(parent_fd)
