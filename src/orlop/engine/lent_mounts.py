"""The mounts that other engines made of volumes that are lent to them.

Nothing is known of their containers but the ids by which they mounted. So that a mount died is told by the device that
the volume had when it was promised; whatever shows that device, in any namespace, is given the new one. Its number
may be another mount's by now: what is still mounted here is not dead, and what is mounted from elsewhere is not the
volume's.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orlop.engine.lent_uses import LentUses
from orlop.engine.mount_holders import REPLACING_SECONDS, require_same
from orlop.errors import Conflict
from orlop.kernel import mounts as kernel
from orlop.kernel.mount_users import MountUser, Place, mount_users
from orlop.kernel.mounts import MountEntry, read_mounts
from orlop.kernel.namespace_mounts import replace_mount
from orlop.kernel.openat2 import open_beneath
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status
from orlop.model.lent import LentUse
from orlop.model.mount import Mount, MountKind

COMING_NS = 10_000_000_000  # so long an engine may take from our answer to its mount
_OWN_NAMESPACE = Path("/proc/self/ns/mnt")
_KEPT = {
    "ro": kernel.MOUNT_ATTR_RDONLY,
    "nosuid": kernel.MOUNT_ATTR_NOSUID,
    "nodev": kernel.MOUNT_ATTR_NODEV,
    "noexec": kernel.MOUNT_ATTR_NOEXEC,
}


def mount_of(volume: str, driver: str) -> Mount:
    """What stands for the mount of another engine."""
    return Mount(MountKind.VOLUME, f"/{volume}", "", volume=volume, driver=driver)


class LentMounts:
    """Holders of mounts, a container standing for each use."""

    def __init__(self, uses: LentUses, driver: str, clock: Callable[[], int] = time.time_ns) -> None:
        self._uses = uses
        self._driver = driver
        self._clock = clock

    def containers(self) -> list[Container]:
        return [self._stand_in(use) for use in self._uses.all()]

    def _stand_in(self, use: LentUse) -> Container:
        mounts = (mount_of(use.volume, self._driver),)
        status = Status(state=ContainerState.RUNNING)
        name = f"of another engine ({use.id[:12]})"
        return Container(use.id, name, 0, "", ContainerConfig(), HostConfig(), "", mounts, status=status)

    def are_coming(self, volume: str) -> bool:
        return any(self._clock() - use.since_ns < COMING_NS for use in self._uses.of(volume))

    def is_outdated(self, container: Container, mount: Mount, now: MountEntry) -> bool:
        use = self._uses.find(mount.volume, container.id)
        return use is not None and use.device not in ("", now.device)

    def give(self, container: Container, mount: Mount, path: Path, now: MountEntry) -> None:
        use = self._uses.find(mount.volume, container.id)
        if use is None or use.device in ("", now.device):
            return
        for user in self._dead(use.device, now):
            require_same(mount.volume, path, now)
            _replace(user, path)
        self._uses.place(mount.volume, container.id, now.device)

    def _dead(self, device: str, now: MountEntry) -> Iterator[MountUser]:
        if any(entry.device == device for entry in read_mounts()):
            return
        own = _OWN_NAMESPACE.readlink()
        for user in mount_users([Place(device, "/")]):
            same = (user.entry.fs_type, user.entry.source) == (now.fs_type, now.source)
            if same and Path(f"/proc/{user.pid}/ns/mnt").readlink() != own:
                yield user


def _replace(user: MountUser, path: Path) -> None:
    namespace = os.open(f"/proc/{user.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        tree = _tree(user.entry, path)
        try:
            replace_mount(namespace, tree, user.entry.mount_point, user.entry.id, REPLACING_SECONDS)
        finally:
            os.close(tree)
    finally:
        os.close(namespace)


def _tree(dead: MountEntry, path: Path) -> int:
    """What the engine showed its container of the volume, with the restrictions that it gave it."""
    top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        shown = top if dead.root == "/" else open_beneath(top, dead.root.lstrip("/"), os.O_PATH, no_symlinks=True)
        try:
            tree = kernel.open_tree(shown)
        finally:
            if shown != top:
                os.close(shown)
    except FileNotFoundError as error:
        raise Conflict(f"mending what is mounted at {dead.mount_point}", f"{dead.root} is no longer there") from error
    finally:
        os.close(top)
    try:
        kernel.mount_setattr(tree, propagation=kernel.MS_PRIVATE)
        flags = 0
        for word in dead.options.split(","):
            flags |= _KEPT.get(word, 0)
        if flags:
            kernel.mount_setattr(tree, set_flags=flags)
    except BaseException:
        os.close(tree)
        raise
    return tree
