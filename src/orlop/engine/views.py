"""A container's file system as the container sees it, for a moment, as descriptors.

A running one is there already: /proc/<pid>/root is the root of its process's mount namespace, volumes, tmpfs and all.
For a stopped one a view is put together:

    <exec-root>/views/<container id>-<random>/   a private copy of the writable layer's mount, the container's volumes
                                                 and binds mounted inside it; owner: this module; gone at the end of
                                                 the call, or at the next start after a crash

Nothing is named twice: every mount is made from a descriptor onto a descriptor that was found beneath the root
(move_mount), so a link swapped in meanwhile leads nowhere. Read-only mounts are read-only here too. A mount whose
destination does not exist in the layer yet (the container never ran) is kept aside by those who only look, so that
looking creates nothing. For those who write, the destination is made, as the start would make it: what they write must
not come to lie under the mount.
"""

import errno
import logging
import os
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import field
from pathlib import Path
from typing import Protocol

from orlop.engine.accounts import find_account
from orlop.engine.archive_paths import open_resolved, resolve
from orlop.engine.keyed_locks import KeyedLocks
from orlop.engine.mount_trees import MountTrees
from orlop.engine.patience import require_storage
from orlop.engine.rootfs import make_directories, open_rootfs
from orlop.errors import Conflict, OrlopError
from orlop.kernel import mounts as kernel
from orlop.kernel.foreign import foreign_mounts, real_path
from orlop.kernel.openat2 import open_in_root
from orlop.kernel.process import is_same_process, parent_pid
from orlop.model.container import Container, Status
from orlop.model.mount import Mount, MountKind
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

_AT_FDCWD = -100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# File systems that show the kernel and not the container's data: archives of a whole tree pass them over.
_KERNEL_FILE_SYSTEMS = frozenset(
    "proc sysfs cgroup cgroup2 devpts mqueue devtmpfs bpf securityfs tracefs debugfs configfs binfmt_misc".split()
)

# A volume's data for a container and a purpose, which makes it a use apart from that of the container's process.
Attach = Callable[[Mount, str, str], Path]
Detach = Callable[[Mount, str, str], None]
Vanishes = Callable[[Mount, str, str], bool]  # whether what is in the volume is gone when this use ends
KeepingPaths = Callable[[Sequence[Mount]], AbstractContextManager[None]]
_PURPOSE = "view"


class LayerUsers(Protocol):
    """What a view needs of engine.layer_mounts."""

    def acquire(self, layer_id: str, user: str) -> Path: ...

    def release(self, layer_id: str, user: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """A place in a container: open, and where it is. `root_fd` and `path` belong together; `container_path` is the
    path from the container's own root."""

    fd: int
    root_fd: int
    path: str
    container_path: str


@dataclass(frozen=True, slots=True)
class View:
    root_fd: int
    passed_over: tuple[int, ...] = ()  # devices whose trees an archive does not descend into
    aside: Mapping[str, int] = field(default_factory=dict)  # destination -> root of a mount that has no place yet
    foreign: tuple[str, ...] = ()  # where somebody else's storage is mounted in it, which may not answer
    vanishing: frozenset[str] = frozenset()  # destinations of volumes in memory that nobody else uses

    @contextmanager
    def open(self, path: str, flags: int, follow_last: bool) -> Iterator[Found]:
        """What `path` leads to, closed at the end of the block. Raises OSError as open does."""
        root_fd, prefix, below = self._locate(path, follow_last)
        if prefix and below == "/" and not flags & os.O_DIRECTORY:
            fd, resolved = os.dup(root_fd), "/"  # perhaps a file, which has no "/" in it
        else:
            fd, resolved = open_resolved(root_fd, below, flags, follow_last)
        try:
            yield Found(fd, root_fd, resolved, (prefix + resolved).rstrip("/") or "/")
        finally:
            os.close(fd)

    def resolve(self, path: str) -> str:
        """Where a link leads, also when nothing is there."""
        root_fd, prefix, below = self._locate(path, follow_last=True)
        return prefix + resolve(root_fd, below)

    def _locate(self, path: str, follow_last: bool) -> tuple[int, str, str]:
        """Which root `path` is under, where that root is in the container, and the path from it."""
        if self.aside:
            resolved = resolve(self.root_fd, path, follow_last)
            for destination in sorted(self.aside, key=len, reverse=True):
                if resolved == destination or resolved.startswith(destination + "/"):
                    return self.aside[destination], destination, resolved[len(destination) :] or "/"
        return self.root_fd, "", path


class Views:
    """`generated` are the files that the daemon makes for a container: destination -> host path. While `keeping_paths`
    holds, what `attach` gave leads to the mounts' data."""

    def __init__(
        self,
        layers: LayerUsers,
        attach: Attach,
        detach: Detach,
        directory: Path,
        generated: Callable[[Container], Mapping[str, Path]],
        trees: MountTrees,
        keeping_paths: KeepingPaths = lambda mounts: nullcontext(),
        vanishes: Vanishes = lambda mount, container_id, purpose: False,
    ) -> None:
        self._layers = layers
        self._attach = attach
        self._detach = detach
        self._directory = directory
        self._generated = generated
        self._trees = trees
        self._keeping_paths = keeping_paths
        self._vanishes = vanishes
        self._locks = KeyedLocks()
        self._open: Counter[str] = Counter()  # views a container has, under its lock

    def reconcile(self, find: Callable[[str], Container | None]) -> None:
        """At start: put away what a crash left."""
        if not self._directory.is_dir():
            return
        for place in self._directory.iterdir():
            _unmount(place)
            container = find(place.name.partition("-")[0])
            if container:
                self._detach_all(container)
            _remove(place)

    @contextmanager
    def open(self, container: Container, writing: bool = False) -> Iterator[View]:
        """No lock is held meanwhile: the container may be started, stopped and removed. Removing it takes nothing
        away that is open already."""
        with ExitStack() as stack:
            root_fd = _open_process_root(container.status) if container.is_running else None
            if root_fd is None:
                with self._keeping_paths(container.mounts):
                    view = self._assemble(container, stack, writing)
                yield view
            else:
                stack.callback(os.close, root_fd)
                table = _mounts_of(container.status.pid)
                yield View(root_fd, _kernel_devices(table), foreign=tuple(foreign_mounts("/", table)))

    def _assemble(self, container: Container, stack: ExitStack, writing: bool) -> View:
        # What is put on the stack first is let go of last: the sources outlive the view that shows them, and the
        # folder, which tells of it after a crash, everything.
        place = self._directory / f"{container.id}-{secrets.token_hex(4)}"
        place.mkdir(mode=0o700, parents=True)
        stack.callback(_remove, place)
        sources = self._attach_all(container, stack)
        root_fd = self._mount_layer(container, place, stack)
        for destination, path in self._generated(container).items():
            if path.exists():
                _mount_inside(root_fd, destination, _copy_of_mount(path, stack))
        aside: dict[str, int] = {}
        foreign: list[str] = []

        def ids(user: str) -> tuple[int, int]:
            account = find_account(root_fd, user or container.config.user)
            return account.uid, account.gid

        for mount, source in sources:
            foreign += _foreign_storage(mount, source)
            # Isolated: what is mounted inside must not show at the source.
            tree = self._trees.open(mount, source, ids, isolated=True)
            stack.callback(os.close, tree)
            if _mount_inside(root_fd, mount.destination, tree):
                continue
            if writing:
                _make_place(place, mount.destination, tree)
                _mount_inside(root_fd, mount.destination, tree)
            else:
                aside[mount.destination] = tree
        vanishing = frozenset(mount.destination for mount, _ in sources if self._is_vanishing(mount, container.id))
        return View(root_fd, aside=aside, foreign=tuple(foreign), vanishing=vanishing)

    def _attach_all(self, container: Container, stack: ExitStack) -> list[tuple[Mount, Path]]:
        """The mounts that can be shown, outermost first, with where their data is."""
        stack.callback(self._close, container)
        with self._locks.hold([container.id]):
            self._open[container.id] += 1
            return [
                (mount, self._source(container, mount))
                for mount in sorted(container.mounts, key=lambda each: each.destination)
                if mount.kind is not MountKind.TMPFS  # its content went with the process
            ]

    def _source(self, container: Container, mount: Mount) -> Path:
        if mount.kind is MountKind.VOLUME:
            return self._attach(mount, container.id, _PURPOSE)
        return Path(mount.source)

    def _is_vanishing(self, mount: Mount, container_id: str) -> bool:
        return mount.kind is MountKind.VOLUME and self._vanishes(mount, container_id, _PURPOSE)

    def _close(self, container: Container) -> None:
        with self._locks.hold([container.id]):
            self._open[container.id] -= 1
            if self._open[container.id] <= 0:
                del self._open[container.id]
                self._detach_all(container)

    def _detach_all(self, container: Container) -> None:
        """Failures are told: the caller's work is done, or has an error of its own."""
        for mount in container.mounts:
            if mount.kind is MountKind.VOLUME:
                try:
                    self._detach(mount, container.id, _PURPOSE)
                except (OrlopError, OSError) as error:
                    log.error("detaching volume %s after a copy: %s", mount.volume, error)

    def _mount_layer(self, container: Container, place: Path, stack: ExitStack) -> int:
        user = f"{_PURPOSE}-{place.name}"
        layer = self._layers.acquire(container.layer_id, user)
        stack.callback(self._layers.release, container.layer_id, user)
        tree = _copy_of_mount(layer, stack)
        place_fd = os.open(place, _DIRECTORY)
        try:
            kernel.move_mount(tree, place_fd)
        finally:
            os.close(place_fd)
        stack.callback(_unmount, place)
        # Opened anew, for reading: the tree's own descriptor is of the kind that only names a place.
        root_fd = os.open(".", _DIRECTORY, dir_fd=tree)
        stack.callback(os.close, root_fd)
        return root_fd


def _open_process_root(status: Status) -> int | None:
    """None when the process has ended meanwhile."""
    if not _is_containers_process(status):
        return None
    try:
        fd = os.open(f"/proc/{status.pid}/root", _DIRECTORY)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Asked again: if the pid is the container's now, it was when we opened.
    if _is_containers_process(status):
        return fd
    os.close(fd)
    return None


def _is_containers_process(status: Status) -> bool:
    """That a pid is not somebody else's by now is known from its parent: the supervisor, which we remember by pid and
    start time."""
    try:
        parent = parent_pid(status.pid)
    except ProcessLookupError:
        return False
    return parent == status.supervisor_pid and is_same_process(parent, status.supervisor_started)


def _foreign_storage(mount: Mount, source: Path) -> list[str]:
    """Where it is mounted on the host. Raises Unavailable where it does not answer, for it is opened next."""
    if mount.kind is MountKind.IMAGE:
        return []
    found = foreign_mounts(source)
    if mount.kind is MountKind.BIND or found:  # a bind's path may lead there by links
        require_storage(f"{mount.kind} at {mount.destination}", source)
        found = found or foreign_mounts(real_path(source))
    return found


def _mounts_of(pid: int) -> list[kernel.MountEntry]:
    try:
        return kernel.read_mounts(f"/proc/{pid}/mountinfo")
    except OSError:
        return []


def _kernel_devices(entries: Sequence[kernel.MountEntry]) -> tuple[int, ...]:
    devices = (e.device for e in entries if e.fs_type in _KERNEL_FILE_SYSTEMS or e.mount_point == "/dev")
    return tuple({os.makedev(*(int(part) for part in device.split(":"))) for device in devices})


def _copy_of_mount(source: Path, stack: ExitStack) -> int:
    """A detached copy of what is at `source`, private: what is mounted inside must not show at the source."""
    try:
        tree = kernel.open_tree(_AT_FDCWD, str(source))
    except FileNotFoundError as error:
        why = f"its file system: {source} does not exist on the host"
        raise Conflict("opening the container", why) from error
    stack.callback(os.close, tree)
    kernel.mount_setattr(tree, propagation=kernel.MS_PRIVATE)
    return tree


def _mount_inside(root_fd: int, destination: str, tree: int) -> bool:
    """False when the destination does not exist."""
    try:
        target = open_in_root(root_fd, destination, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        kernel.move_mount(tree, target)
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            why = "a file would be mounted on a directory, or a directory on a file"
            raise Conflict(f"mount at {destination}", why) from error
        raise
    finally:
        os.close(target)
    return True


def _make_place(root: Path, destination: str, tree: int) -> None:
    """A directory or an empty file for what is to be mounted there."""
    parent, _, name = destination.rpartition("/")
    try:
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            make_directories(root, destination)
            return
        make_directories(root, parent)
        root_fd = open_rootfs(root)
        try:
            parent_fd = open_in_root(root_fd, parent or "/", _DIRECTORY)
        finally:
            os.close(root_fd)
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent_fd))
        finally:
            os.close(parent_fd)
    except OSError as error:
        raise Conflict(f"mount at {destination}", f"its place cannot be made: {error.strerror}") from error


def _unmount(place: Path) -> None:
    """All of it. What cannot be is told and left for the next start."""
    try:
        while True:
            kernel.unmount(place, kernel.MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            log.error("cannot unmount %s: %s", place, error)


def _remove(place: Path) -> None:
    try:
        place.rmdir()
    except OSError as error:
        log.error("cannot remove %s: %s", place, error)
