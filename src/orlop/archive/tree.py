"""The directories of a tree that is being filled, as descriptors, found beneath its root and nowhere else.

A path is first tried without links; where one is on the way it is resolved as a chroot would (RESOLVE_IN_ROOT), so
`lib -> /usr/lib` leads to the tree's own usr/lib. Descriptors of recent directories are kept: an archive names its
members directory by directory, and one openat with a short name costs a tenth of a whole path through openat2.
"""

import errno
import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import Self

from orlop.kernel.openat2 import open_in_root
from orlop.model.value import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 48
OPAQUE_XATTR = "trusted.overlay.opaque"


@dataclass(frozen=True, slots=True)
class Directory:
    fd: int
    path: str  # beneath the root, without links; "" is the root


def joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def is_whiteout(details: os.stat_result) -> bool:
    """overlayfs marks what is gone by a character device 0:0."""
    return stat.S_ISCHR(details.st_mode) and details.st_rdev == 0


class Tree:
    """Not thread-safe. `root_fd` stays the caller's. With `opens_whiteouts` a missing directory may take the place of
    an overlay whiteout, and then hides what the layers below have there. What `is_foreign` says is no part of the
    tree that is being filled: a file or link there is not followed but gives way to a directory."""

    def __init__(
        self, root_fd: int, opens_whiteouts: bool = False, is_foreign: Callable[[str], bool] | None = None
    ) -> None:
        self.root = Directory(root_fd, "")
        self._root_path = os.readlink(f"/proc/self/fd/{root_fd}")
        self.implied: list[str] = []  # directories that had to be made on the way to others
        self._opens_whiteouts = opens_whiteouts
        self._is_foreign = is_foreign
        self._kept: dict[str, Directory] = {}
        self._stale: list[Directory] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stale.extend(self._kept.values())
        self._kept.clear()
        self._close_stale()

    def forget(self, path: str) -> None:
        """What was at `path` was removed. Paths through links may have led through it, so all of those go too. The
        descriptors stay open until the next `find`: one may be in use."""
        below = path + "/"
        for key, kept in list(self._kept.items()):
            if key != kept.path or key == path or key.startswith(below):
                self._stale.append(self._kept.pop(key))

    def _close_stale(self) -> None:
        while self._stale:
            os.close(self._stale.pop().fd)

    def find(self, parts: list[str], create: bool) -> Directory:
        """The directory, good until the next but one call. Raises OSError as openat2 does."""
        self._close_stale()
        path = "/".join(parts)
        if not path:
            return self.root
        found = self._kept.pop(path, None)
        if found is None:
            parent = self._kept.get("/".join(parts[:-1])) if len(parts) > 1 else self.root
            found = self._enter(parent, parts[-1], create) if parent else None
            found = found or self._walk(parts, create)
        self.keep(path, found)
        return found

    def keep(self, path: str, directory: Directory) -> None:
        if len(self._kept) >= _KEPT:
            oldest = next(iter(self._kept))
            os.close(self._kept.pop(oldest).fd)
        previous = self._kept.pop(path, None)
        if previous is not None:
            os.close(previous.fd)
        self._kept[path] = directory

    def _enter(self, parent: Directory, name: str, create: bool) -> Directory | None:
        """One step down; None where a link is in the way."""
        path = joined(parent.path, name)
        try:
            return Directory(os.open(name, _DIRECTORY, dir_fd=parent.fd), path)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                return self._replace(parent, name, create, error)
            if error.errno != errno.ENOENT or not create:
                raise
        return self._make(parent, name, opaque=False)

    def _replace(self, parent: Directory, name: str, create: bool, error: OSError) -> Directory | None:
        """What to do about something that is no directory."""
        details = os.lstat(name, dir_fd=parent.fd)
        whiteout = self._opens_whiteouts and is_whiteout(details)
        if not whiteout and not (self._is_foreign and self._is_foreign(joined(parent.path, name))):
            if stat.S_ISLNK(details.st_mode):
                return None
            raise error
        if not create:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        os.unlink(name, dir_fd=parent.fd)
        return self._make(parent, name, opaque=whiteout)

    def _make(self, parent: Directory, name: str, opaque: bool) -> Directory:
        os.mkdir(name, 0o755, dir_fd=parent.fd)
        made = Directory(os.open(name, _DIRECTORY, dir_fd=parent.fd), joined(parent.path, name))
        try:
            os.fchmod(made.fd, 0o755)
            if opaque:
                os.setxattr(made.fd, OPAQUE_XATTR, b"y")
        except BaseException:
            os.close(made.fd)
            raise
        self.implied.append(made.path)
        return made

    def _walk(self, parts: list[str], create: bool) -> Directory:
        """From the root, step by step; a link on the way is resolved by the kernel, with the root as "/"."""
        here = Directory(os.dup(self.root.fd), "")
        try:
            for index, name in enumerate(parts):
                below = self._enter(here, name, create)
                if below is None:
                    path = joined(here.path, name)
                    fd = open_in_root(self.root.fd, path, os.O_RDONLY | os.O_DIRECTORY)
                    below = Directory(fd, self._real_path(fd, "/".join(parts[: index + 1])))
                os.close(here.fd)
                here = below
        except BaseException:
            os.close(here.fd)
            raise
        return here

    def _real_path(self, fd: int, otherwise: str) -> str:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path == self._root_path:
            return ""
        prefix = self._root_path.rstrip("/") + "/"
        return path.removeprefix(prefix) if path.startswith(prefix) else otherwise
