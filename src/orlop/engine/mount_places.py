"""Mounts that the runtime is handed ready-made, and what a mount's source must be like.

    <exec-root>/mounts/<random>     such a mount, while the runtime makes the container; the container's own copy of it
                                    lives as long as the container runs, so this one goes at once

A mount that is just a path is left to the runtime. One that is more (an image, ids shown differently, read-only down to
what is mounted below) is made here, because the runtimes differ in what they can do and we must be sure.
"""

import logging
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from orlop.engine.accounts import find_account
from orlop.engine.archive_paths import resolve
from orlop.engine.mount_trees import MountTrees
from orlop.engine.rootfs import open_rootfs
from orlop.errors import HostFailure
from orlop.kernel import mounts as kernel
from orlop.kernel.foreign import real_path
from orlop.model.container import Container
from orlop.model.mount import IdMapping, Mount, MountKind
from orlop.model.mount_spec import refuse_kernels_place
from orlop.model.value import dataclass
from orlop.model.volume import DEFAULT_DRIVER
from orlop.planning.bundles import Surroundings
from orlop.planning.mounts import check_recursion, shows_data_root

log = logging.getLogger(__name__)

_SHARED = ("shared", "rshared")
_SLAVE = ("slave", "rslave")


@dataclass(frozen=True, slots=True)
class Placed:
    mounts: tuple[Mount, ...]
    sources: Mapping[str, Path]  # by destination


class MountPlaces:
    def __init__(self, directory: Path, trees: MountTrees, data_root: str) -> None:
        self._directory = directory
        self._trees = trees
        self._data_root = data_root

    @contextmanager
    def placed(self, container: Container, found: Surroundings) -> Iterator[Placed]:
        """The container's mounts as they can be made, for as long as the runtime makes the container."""
        for mount in container.mounts:
            check_recursion(mount)
        rootfs_fd = open_rootfs(found.rootfs)
        try:
            self._look_at_places(container.mounts, rootfs_fd)

            def ids(user: str) -> tuple[int, int]:
                if not user:
                    return found.uid, found.gid
                account = find_account(rootfs_fd, user)
                return account.uid, account.gid

            with ExitStack() as stack:
                sources = dict(found.sources)
                settled = self._settle(container.mounts, sources)
                for mount in settled:
                    source = sources.get(mount.destination, Path())
                    if _is_more_than_a_path(mount, source):
                        sources[mount.destination] = self._place(self._trees.open(mount, source, ids), stack)
                    elif _is_held(mount):
                        # Read-only is the runtime's to make, once it has made the places of what is mounted below.
                        writable = replace(mount, read_only=False)
                        sources[mount.destination] = self._place(self._trees.open(writable, source, ids), stack)
                yield Placed(settled, sources)
        finally:
            os.close(rootfs_fd)

    def clear(self) -> None:
        """At start: what a crash left."""
        with suppress(FileNotFoundError):
            for place in self._directory.iterdir():
                _take_down(place)

    def _look_at_places(self, mounts: Sequence[Mount], rootfs_fd: int) -> None:
        """Where the destinations lead in the image, which may have links in their way."""
        seen: dict[str, str] = {}
        for mount in mounts:
            resolved = resolve(rootfs_fd, mount.destination)
            refuse_kernels_place(mount.kind, mount.source, resolved, mount.destination)
            if other := seen.get(resolved):
                log.warning(
                    "%s and %s are one place in the container: one mount hides the other", other, mount.destination
                )
            seen[resolved] = mount.destination

    def _settle(self, mounts: Sequence[Mount], sources: Mapping[str, Path]) -> tuple[Mount, ...]:
        wanted = (*_SHARED, *_SLAVE)
        if not any(mount.kind is MountKind.BIND and mount.propagation in wanted for mount in mounts):
            return tuple(mounts)
        table = kernel.read_mounts()
        return tuple(
            self._with_possible_propagation(mount, sources[mount.destination], table)
            if mount.kind is MountKind.BIND and mount.propagation in wanted
            else mount
            for mount in mounts
        )

    def _with_possible_propagation(self, mount: Mount, source: Path, table: Sequence[kernel.MountEntry]) -> Mount:
        """Only a shared mount passes on what is mounted later. Where we chose to have it passed on, because the source
        shows the data root, and it cannot be, nothing needs to be."""
        at = kernel.mount_of(real_path(source), table)
        passes_on = any(word.startswith("shared:") for word in at.propagation)
        receives = any(word.startswith("master:") for word in at.propagation)
        if mount.propagation in _SHARED and not passes_on:
            kind = "a shared mount"
        elif mount.propagation in _SLAVE and not passes_on and not receives:
            kind = "a shared or slave mount"
            if shows_data_root(mount.source, self._data_root):
                return replace(mount, propagation="rprivate")
        else:
            return mount
        why = f"path {mount.source} is mounted on {at.mount_point} but it is not {kind}"
        raise HostFailure("", why, f"Make it one: mount --make-shared {at.mount_point}")

    def _place(self, tree: int, stack: ExitStack) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._directory / secrets.token_hex(16)
        try:
            is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            place.mkdir(mode=0o700) if is_directory else place.touch(mode=0o600)
            stack.callback(_put_away, place)
            target = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                kernel.move_mount(tree, target)
            finally:
                os.close(target)
        finally:
            os.close(tree)
        return place


def _is_more_than_a_path(mount: Mount, source: Path) -> bool:
    if mount.kind is MountKind.IMAGE:
        return True
    if mount.kind is MountKind.TMPFS:
        return False
    if mount.id_mapping is not IdMapping.NONE or mount.read_only_force_recursive:
        return True
    recursive = not mount.non_recursive and not mount.read_only_non_recursive
    # One mounted on the source itself is what `source` names; those below are what a plain "ro" forgets.
    return mount.read_only and recursive and kernel.has_mounts_below(real_path(source))


def _is_held(mount: Mount) -> bool:
    """Whether it is opened before the runtime sees it: between our look and the runtime's, another directory, or a
    link, could take the data's place."""
    return mount.kind is MountKind.VOLUME and mount.driver == DEFAULT_DRIVER and not mount.subpath


def _put_away(place: Path) -> None:
    """The container is made, or has an error of its own to tell: what fails here is logged, and tried again at the next
    start."""
    try:
        _take_down(place)
    except OSError as error:
        log.error("cannot take down %s: %s", place, error)


def _take_down(place: Path) -> None:
    kernel.detach_privately(place)
    with suppress(FileNotFoundError):
        place.rmdir() if place.is_dir() else place.unlink()
