"""What a stack of overlay layers shows at a path, without mounting it.

The directories of read-only layers are looked at by path: nobody changes them. A writable layer, which a container may
be changing at this moment, is never looked at this way.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orlop.archive.tree import OPAQUE_XATTR, is_whiteout, joined
from orlop.kernel.openat2 import open_beneath
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    details: os.stat_result
    path: Path  # the topmost layer's
    directories: tuple[Path, ...]  # those that merge into this one, top first; () for what is no directory

    @property
    def is_directory(self) -> bool:
        return bool(self.directories)


def find(directories: Sequence[Path], name: str) -> Found | None:
    """What `name` is in a directory that merges these, top first."""
    first: tuple[os.stat_result, Path] | None = None
    merging: list[Path] = []
    for directory in directories:
        path = directory / name
        try:
            details = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if is_whiteout(details):
            break
        first = first or (details, path)
        if not stat.S_ISDIR(details.st_mode):
            break
        merging.append(path)
        if is_opaque(path):
            break
    if first is None:
        return None
    if not stat.S_ISDIR(first[0].st_mode):
        merging = []
    return Found(*first, tuple(merging))


def is_opaque(target: Path | int) -> bool:
    try:
        return os.getxattr(target, OPAQUE_XATTR, follow_symlinks=True) == b"y"
    except OSError:
        return False


def list_names(directories: Sequence[Path]) -> set[str]:
    """The names that a directory shows which merges these."""
    hidden: set[str] = set()
    shown: set[str] = set()
    for directory in directories:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name in shown or entry.name in hidden:
                    continue
                gone = not entry.is_dir(follow_symlinks=False) and is_whiteout(entry.stat(follow_symlinks=False))
                (hidden if gone else shown).add(entry.name)
    return shown


class Merging:
    """Which directories below merge into those of a new layer."""

    def __init__(self, top: Path, below: Sequence[Path]) -> None:
        self._top = top
        self._known: dict[str, Found | None] = {}
        self._below = tuple(below)

    def find(self, path: str) -> Found | None:
        """What the layers below show at a directory of the new layer; None where that hides them."""
        here = ""
        found: Found | None = None
        directories: Sequence[Path] = self._below
        for name in path.split("/"):
            here = joined(here, name)
            if here not in self._known:
                hidden = is_opaque(self._top / here)
                self._known[here] = None if hidden else find(directories, name)
            found = self._known[here]
            directories = found.directories if found else ()
        return found

    def directories(self, path: str) -> Sequence[Path]:
        if not path:
            return self._below
        found = self.find(path)
        return found.directories if found else ()


def drop_idle_whiteouts(top: Path, merging: Merging, whiteouts: Sequence[str]) -> None:
    """Remove the marks of a new layer in directories that merge with none below. They hide nothing, and overlayfs,
    which filters them only where directories merge, would list each as a file that cannot be opened."""
    for path in whiteouts:
        directory, _, name = path.rpartition("/")
        if merging.directories(directory):
            continue
        with _directory_in(top, directory) as fd:
            if fd is not None and _is_whiteout_at(fd, name):
                os.unlink(name, dir_fd=fd)


def describe_implied(top: Path, merging: Merging, implied: Sequence[str]) -> None:
    """Directories that a layer's tar goes through without describing them stay as they are below: overlayfs shows
    the topmost, and a /tmp that lost its sticky bit would be a hole."""
    for path in implied:
        found = merging.find(path)
        if found and found.is_directory:
            with _directory_in(top, path) as fd:
                if fd is not None:
                    copy_attributes(found, fd)


@contextmanager
def _directory_in(top: Path, path: str) -> Iterator[int | None]:
    """A directory of a new layer, not through any link that a member has put in its way since; None if it is gone."""
    fd = None
    top_fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                fd = open_beneath(top_fd, path, os.O_RDONLY | os.O_DIRECTORY, no_symlinks=True)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
        yield fd
    finally:
        os.close(top_fd)
        if fd is not None:
            os.close(fd)


def _is_whiteout_at(fd: int, name: str) -> bool:
    try:
        return is_whiteout(os.lstat(name, dir_fd=fd))
    except FileNotFoundError:
        return False


def copy_attributes(found: Found, target: int | Path) -> None:
    details = found.details
    os.chown(target, details.st_uid, details.st_gid)
    os.chmod(target, stat.S_IMODE(details.st_mode))
    for name in os.listxattr(found.path, follow_symlinks=False):
        if not name.startswith("trusted.overlay."):
            os.setxattr(target, name, os.getxattr(found.path, name))
    os.utime(target, ns=(details.st_atime_ns, details.st_mtime_ns))
