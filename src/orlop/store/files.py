"""Files that must be whole after a crash, and trees that must go without harm to anything else."""

import errno
import os
import secrets
import stat
from pathlib import Path

from orlop.errors import Conflict
from orlop.kernel.mounts import mounts_at_or_below
from orlop.kernel.openat2 import open_beneath

TRIAL = ".overlay-probe-"  # how a directory begins in which a start tries what its disk can do


_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """The file holds all of `data` or what it held before, whatever happens: temp, fsync, rename, fsync of the
    directory (fsync(2), "NOTES")."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """What was created, renamed or removed in the directory survives a power cut once this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Delete a tree, crossing no mount point and following no link. A tree that is gone is success.

    Raises Conflict, before anything is deleted, when the mount table shows a mount at or below it. A mount that
    appears while deleting stops it too: the walk lets the kernel check each directory it enters.
    """
    below = mounts_at_or_below(path.parent.resolve() / path.name) if not path.is_symlink() else []
    if below:
        raise Conflict(
            f"removing {path}",
            f"{below[0].mount_point} is a mount point",
            f"Unmount it first: umount {below[0].mount_point}",
        )
    try:
        parent_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_tree_at(parent_fd, path.name, str(path))
    finally:
        os.close(parent_fd)


def remove_tree_at(parent_fd: int, name: str, shown: str) -> None:
    """The same for a name in an open directory, where a path is not to be trusted; messages call it `shown`."""
    try:
        details = os.lstat(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(details.st_mode):
        _remove_directory(parent_fd, name, shown)
    else:
        os.unlink(name, dir_fd=parent_fd)


def _remove_directory(parent_fd: int, name: str, shown: str) -> None:
    # Depth is the attacker's to choose: the walk keeps its own stack, and one of bounded size.
    fds = [_enter(parent_fd, name, shown)]
    names = [name]
    try:
        while fds:
            child = _empty_until_directory(fds[-1], shown)
            if child is None:
                os.close(fds.pop())
                os.rmdir(names.pop(), dir_fd=fds[-1] if fds else parent_fd)
            elif len(fds) >= _MOST_OPEN:
                _move_to_top(fds[-1], child, fds[0])
            else:
                fds.append(_enter(fds[-1], child, shown))
                names.append(child)
    finally:
        for fd in fds:
            os.close(fd)


_MOST_OPEN = 200


def _move_to_top(parent_fd: int, child: str, top_fd: int) -> None:
    """A directory too deep to keep a descriptor for each level goes to the top of the tree that is going anyway."""
    os.rename(child, f".orlop-deep-{secrets.token_hex(8)}", src_dir_fd=parent_fd, dst_dir_fd=top_fd)


def _enter(parent_fd: int, name: str, shown: str) -> int:
    """Open a directory that is on the same mount as its parent: a bind mount has the same device number, so only the
    kernel's own check (RESOLVE_NO_XDEV) tells it."""
    try:
        return open_beneath(parent_fd, name, _OPEN_DIRECTORY, no_symlinks=True, no_xdev=True)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise _crossing(f"{shown}/.../{name}") from error
        raise


def _empty_until_directory(fd: int, shown: str) -> str | None:
    """Unlink everything that is no directory; the first directory's name, or None when the directory is empty."""
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=fd)
                    continue
                os.rmdir(entry.name, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return entry.name
                if error.errno == errno.EBUSY:
                    raise _crossing(f"{shown}/.../{entry.name}") from error
                raise
    return None


def _crossing(shown: str) -> Conflict:
    return Conflict(f"removing {shown}", "something is mounted there", f"Unmount it first: umount {shown}")
