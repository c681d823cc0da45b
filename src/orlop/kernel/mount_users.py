"""Who has a directory mounted, in whatever mount namespace: a container's bind mount is in no table but its own.

A mount is told by its device and by which part of the file system it shows, which is the same in every namespace.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from orlop.kernel.mounts import MountEntry, read_mounts
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A directory as mount tables spell it: a file system's device, and the path in that file system."""

    device: str
    path: str

    def holds(self, entry: MountEntry) -> bool:
        """Whether the mount shows this directory, or something in it."""
        inside = entry.root == self.path or entry.root.startswith(self.path.rstrip("/") + "/")
        return entry.device == self.device and inside


@dataclass(frozen=True, slots=True)
class MountUser:
    pid: int  # a process of the mount namespace
    entry: MountEntry


def place_of(path: Path) -> Place:
    """Raises OSError where the path cannot be resolved."""
    return _place(os.path.realpath(path, strict=True))


def place_of_mount(path: Path) -> Place:
    """The same of what is perhaps mounted on that very path, which is not touched: its storage may hang."""
    return _place(f"{os.path.realpath(path.parent, strict=True).rstrip('/')}/{path.name}")


def _place(real: str) -> Place:
    over = [entry for entry in read_mounts() if f"{real}/".startswith(entry.mount_point.rstrip("/") + "/")]
    # The latest of the longest: what was mounted over something else hides it.
    entry = max(enumerate(over), key=lambda item: (len(item[1].mount_point), item[0]))[1]
    below = real[len(entry.mount_point.rstrip("/")) :]
    return Place(entry.device, (entry.root.rstrip("/") + below) or "/")


def mount_users(places: Iterable[Place]) -> Iterator[MountUser]:
    """Every mount of one of these directories, or of something in them; one process for each namespace."""
    wanted = list(places)
    for pid in _one_a_namespace():
        try:
            table = read_mounts(f"/proc/{pid}/mountinfo")
        except OSError:  # it ended meanwhile
            continue
        for entry in table:
            if any(place.holds(entry) for place in wanted):
                yield MountUser(pid, entry)


def _one_a_namespace() -> Iterator[int]:
    seen: set[str] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            namespace = str(Path(f"/proc/{name}/ns/mnt").readlink())
        except OSError:
            continue
        if namespace not in seen:
            seen.add(namespace)
            yield int(name)
