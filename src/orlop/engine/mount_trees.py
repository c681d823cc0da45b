"""What a container's mount shows, as a detached tree: a copy of a part of the mount table that is nowhere yet.

A tree is made from descriptors, so nobody can swap what was found, and it gets its attributes (read-only all the way
down, ids as the container sees them) before anybody can see it. The runtimes differ in which of these they know.
"""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from orlop.engine.id_mapping import IdMapping
from orlop.engine.subpaths import open_part
from orlop.errors import Conflict, HostFailure
from orlop.kernel import mounts as kernel
from orlop.kernel.openat2 import open_beneath
from orlop.model.mount import IdMapping as Mapping
from orlop.model.mount import Mount, MountKind
from orlop.model.volume import DEFAULT_DRIVER

log = logging.getLogger(__name__)

_AT_FDCWD = -100
_PROPAGATING = frozenset({"shared", "rshared", "slave", "rslave"})

Ids = Callable[[str], tuple[int, int]]  # uid and gid of a user ("" = the container's own), as the container knows them


class MountTrees:
    """`open_image` gives an image's whole tree by image id, detached and read-only."""

    def __init__(self, open_image: Callable[[str], int]) -> None:
        self._open_image = open_image
        self._id_mapping = IdMapping()

    def open(self, mount: Mount, source: Path, ids: Ids, *, isolated: bool = False) -> int:
        """The caller closes it. `source` is where the data of a volume or bind is; `isolated`: nothing mounted there
        later shows in the tree, whatever the mount says."""
        recursive = not mount.non_recursive
        tree = self._image(mount) if mount.kind is MountKind.IMAGE else _copy(source, mount, recursive)
        try:
            # Private before anything else: taking down a copy that is a peer of the original takes down the original's.
            if isolated or mount.propagation not in _PROPAGATING:
                kernel.mount_setattr(tree, propagation=kernel.MS_PRIVATE, recursive=recursive)
            if mount.id_mapping is Mapping.MATCH_USER:
                subject = f"mount at {mount.destination}"
                self._id_mapping.show_owner_as(tree, *ids(mount.id_mapping_user), subject, recursive=recursive)
            if mount.read_only:
                _make_read_only(tree, mount, recursive)
        except BaseException:
            os.close(tree)
            raise
        return tree

    def _image(self, mount: Mount) -> int:
        tree = self._open_image(mount.image_id)
        if not mount.subpath:
            return tree
        try:
            part = open_part(tree, f"image {mount.image}", mount.subpath)
            try:
                return kernel.open_tree(part)
            finally:
                os.close(part)
        finally:
            os.close(tree)


def open_data(mount: Mount, path: Path) -> int:
    """A descriptor that names a local volume's data and nothing that was put in its place: no part of the path may be a
    link, least of all the last. Raises HostFailure."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(root, str(path).lstrip("/"), os.O_PATH, no_symlinks=True)
    except OSError as error:
        why = f"{path} is not a directory" if error.errno == errno.ELOOP else f"{path}: {error.strerror}"
        raise HostFailure(f"attaching volume {mount.volume}", why, "Was it moved meanwhile? Try again") from error
    finally:
        os.close(root)


def _copy(source: Path, mount: Mount, recursive: bool) -> int:
    if mount.kind is MountKind.VOLUME and mount.driver == DEFAULT_DRIVER:
        fd = open_data(mount, source)
        try:
            return kernel.open_tree(fd, recursive=recursive)
        finally:
            os.close(fd)
    try:
        return kernel.open_tree(_AT_FDCWD, str(source), recursive=recursive)
    except FileNotFoundError as error:
        why = f"{source} does not exist on the host"
        raise Conflict("opening the container", f"{mount.kind} at {mount.destination}: {why}") from error


def _make_read_only(tree: int, mount: Mount, recursive: bool) -> None:
    below = recursive and not mount.read_only_non_recursive
    try:
        kernel.mount_setattr(tree, set_flags=kernel.MOUNT_ATTR_RDONLY, recursive=below)
    except OSError as error:
        if error.errno != errno.ENOSYS or mount.read_only_force_recursive:
            why = f"what is mounted below cannot be made read-only: {error.strerror}"
            raise HostFailure(f"mount at {mount.destination}", why, "Linux 5.12 can") from error
        log.debug("%s is read-only without what is mounted below: this kernel cannot do more", mount.destination)
