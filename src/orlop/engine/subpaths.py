"""A part of a volume as a mount's source, pinned.

    <exec-root>/subpaths/<use id>     a bind mount of that part, while the use lasts

Other containers may write to the volume at this very moment and put a link where a directory was looked up. So the part
is resolved once, by the kernel, beneath the volume, and what was found is mounted by its descriptor at a place that is
ours; the runtime gets that place. A path into the volume would be looked up again.
"""

import errno
import logging
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from orlop.errors import Malformed, NoSuchPart
from orlop.kernel.mounts import MS_PRIVATE, detach_privately, mount_setattr, move_mount, open_tree
from orlop.kernel.openat2 import open_beneath

log = logging.getLogger(__name__)


class Subpaths:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def pin(self, base: Path, subpath: str, use: str) -> Path:
        """Links are followed as long as they stay inside. Raises NoSuchPart when it is not there (a subpath is never
        made), Malformed when it leads out."""
        base_fd = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = open_part(base_fd, str(base), subpath)
        finally:
            os.close(base_fd)
        try:
            tree = open_tree(fd, "", recursive=True)
            try:
                mount_setattr(tree, propagation=MS_PRIVATE, recursive=True)
                place = self._make_place(use, stat.S_ISDIR(os.fstat(fd).st_mode))
                target = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    move_mount(tree, target)
                finally:
                    os.close(target)
            finally:
                os.close(tree)
        finally:
            os.close(fd)
        return place

    def place(self, use: str) -> Path:
        """Where the part of that use is, once it is pinned."""
        return self._directory / use

    def unpin(self, use: str) -> None:
        """Gone already is success."""
        place = self._directory / use
        detach_privately(place)
        with suppress(FileNotFoundError):
            place.rmdir() if place.is_dir() else place.unlink()

    def unpin_others(self, uses: Collection[str]) -> None:
        """At start: those that no running container has."""
        with suppress(FileNotFoundError):
            for place in self._directory.iterdir():
                if place.name not in uses:
                    log.info("letting go of a subpath that nobody uses any more: %s", place.name)
                    self.unpin(place.name)

    def _make_place(self, use: str, is_directory: bool) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.unpin(use)
        place = self._directory / use
        place.mkdir(mode=0o700) if is_directory else place.touch(mode=0o600)
        return place


def open_part(base_fd: int, base: str, subpath: str) -> int:
    """What is at `subpath` of the tree open at `base_fd`, to be named (O_PATH); `base` is how errors call that tree.
    Raises NoSuchPart, Malformed where it leads out."""
    try:
        return open_beneath(base_fd, subpath, os.O_PATH)
    except OSError as error:
        if error.errno == errno.EXDEV:
            why = f"path concatenation escapes the base directory, base: {base}, subpath: {subpath}"
            raise Malformed("", why) from error
        raise NoSuchPart(f"{base}/{subpath}", os.strerror(error.errno or 0).lower()) from error
