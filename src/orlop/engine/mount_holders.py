"""Who has a mount of a volume, and giving them another one in its place."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from orlop.engine import faults
from orlop.engine.mount_trees import MountTrees
from orlop.errors import HostFailure, Unsupported
from orlop.kernel.foreign import is_foreign_type
from orlop.kernel.mounts import MountEntry, read_mounts, spelled
from orlop.kernel.namespace_mounts import replace_mount
from orlop.model.container import Container
from orlop.model.mount import Mount

MEND = "volume.mend"  # as the tests that kill the daemon name its steps
REPLACING_SECONDS = 20.0

Pin = Callable[[Path, Mount, str], Path]  # where a mount's part of a volume is, once that was mounted anew


class MountHolders(Protocol):
    """Those who use volumes, each as the container that it is or stands for."""

    def are_coming(self, volume: str) -> bool:
        """Whether somebody was told where the volume is, and may not have mounted it yet."""

    def is_outdated(self, container: Container, mount: Mount, now: MountEntry) -> bool:
        """Whether it has another mount than the one that is on the host now."""

    def give(self, container: Container, mount: Mount, path: Path, now: MountEntry) -> None:
        """That one, which is on `path`, takes the place of an outdated one. Raises ProcessLookupError where the
        container has ended, OSError and OrlopErrors for what is in the way."""


class ContainerMounts:
    """Of our own containers, in whose mount namespaces it is looked. `trees` makes what a mount shows."""

    def __init__(self, trees: MountTrees, pin: Pin) -> None:
        self._trees = trees
        self._pin = pin

    def are_coming(self, volume: str) -> bool:
        return False  # the engine itself knows

    def is_outdated(self, container: Container, mount: Mount, now: MountEntry) -> bool:
        return _outdated(container, mount, now) is not None

    def give(self, container: Container, mount: Mount, path: Path, now: MountEntry) -> None:
        pid = container.status.pid
        process = os.pidfd_open(pid)
        try:
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                dead = _outdated(container, mount, now)
                if dead is None:
                    return
                source = self._pin(path, mount, container.id) if mount.subpath else path
                tree = self._trees.open(mount, source, _no_ids)
                try:
                    require_same(mount.volume, path, now)
                    faults.point(MEND, "replace", "before")
                    replace_mount(namespace, tree, dead.mount_point, dead.id, REPLACING_SECONDS)
                    faults.point(MEND, "replace", "after")
                finally:
                    os.close(tree)
            finally:
                os.close(namespace)
        finally:
            os.close(process)


def require_same(volume: str, path: Path, now: MountEntry) -> None:
    """Raises HostFailure where another mount is on the path by now, or none."""
    if mount_on(str(path)) != now:
        raise HostFailure(f"mending volume {volume}", f"{path} was unmounted meanwhile")


def mount_on(path: str) -> MountEntry | None:
    """The one that is seen there."""
    point = spelled(path)
    return next((entry for entry in reversed(read_mounts()) if entry.mount_point == point), None)


def _no_ids(user: str) -> tuple[int, int]:
    raise Unsupported("mending a mount whose ids are mapped", "it cannot be made anew", "Restart the container")


def _outdated(container: Container, mount: Mount, now: MountEntry) -> MountEntry | None:
    """What the container has in the place of the mount that is there now; None where it has that, or has ended."""
    try:
        table = read_mounts(f"/proc/{container.status.pid}/mountinfo")
    except OSError:
        return None
    return find_outdated(table, mount.destination, now)


def find_outdated(table: Sequence[MountEntry], destination: str, now: MountEntry) -> MountEntry | None:
    """By its place; where links of the image led it to another, by what it shows, if only one mount shows that."""
    there = [entry for entry in table if entry.mount_point == destination]
    if there:
        seen = there[-1]
        is_of_volume = is_foreign_type(seen.fs_type) or (_is_loop(seen) and _is_loop(now))
        return seen if is_of_volume and seen.device != now.device else None
    same = [entry for entry in table if (entry.fs_type, entry.source) == (now.fs_type, now.source)]
    return same[0] if len(same) == 1 and same[0].device != now.device else None


def _is_loop(entry: MountEntry) -> bool:
    """As long as anybody has a mount of it, the number of its device is nobody else's."""
    return entry.source.startswith("/dev/loop")
