"""Did a mount land where the kernel's files are?

Where a mount lies in another, the way to it leads through what that other shows: a volume that strangers may write to.
A link there can lead the runtime to /proc, and not every runtime looks. So once the mounts are made, and before the
container's program runs, the container's own mount table is asked.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from orlop.errors import Malformed, Unavailable
from orlop.kernel.foreign import is_foreign_type
from orlop.kernel.mounts import MountEntry, mount_of, read_mounts
from orlop.model.container import Container
from orlop.model.mount import Mount
from orlop.model.volume import DEFAULT_DRIVER


def refuse_strayed(container: Container, pid: int) -> None:
    """Called for a process that waits to be started. Raises Malformed naming the place."""
    if not _nest(container.mounts):
        return
    for entry in find_strayed(read_mounts(f"/proc/{pid}/mountinfo"), container.mounts):
        why = f"a link led a mount of this container to {entry.mount_point}, where the kernel's files are"
        hint = "Look for it in the volumes that other mounts are in"
        raise Malformed("", why, hint)


def find_strayed(table: Iterable[MountEntry], mounts: Sequence[Mount]) -> list[MountEntry]:
    """Entries below /proc that neither the user nor the runtime put there."""
    wanted = {mount.destination for mount in mounts}
    entries = list(table)
    if wanted <= {entry.mount_point for entry in entries}:
        return []  # each is where it should be
    if "/proc" in wanted:
        return []  # the host's own, with whatever is mounted in it
    return [
        entry
        for entry in entries
        if entry.mount_point.startswith("/proc/") and entry.mount_point not in wanted and not _is_the_runtimes(entry)
    ]


def _is_the_runtimes(entry: MountEntry) -> bool:
    """It makes parts of /proc read-only, and hides others under /dev/null, an empty tmpfs or an empty directory."""
    hides_a_file = entry.root == "/null" and entry.fs_type in ("devtmpfs", "tmpfs")
    is_empty = entry.fs_type == "tmpfs" or entry.root.endswith("/.empty-directory")
    hides_a_directory = is_empty and "ro" in entry.options.split(",")
    return entry.fs_type == "proc" or hides_a_file or hides_a_directory


def refuse_bare(container: Container, pid: int, sources: Mapping[str, Path]) -> None:
    """Likewise: storage that a program mounts may be mounted anew (it died) between our look and the runtime's, which
    then took the directory below. Raises Unavailable; the next start finds the new mount. `sources` by destination."""
    elsewhere = [mount for mount in container.mounts if mount.volume and mount.driver != DEFAULT_DRIVER]
    if not elsewhere:
        return
    here, there = read_mounts(), read_mounts(f"/proc/{pid}/mountinfo")
    for mount in elsewhere:
        if is_bare(mount_of(sources[mount.destination], here), mount.destination, there):
            why = f"its storage was mounted anew while container {container.name} was being made"
            raise Unavailable(f"attaching volume {mount.volume}", why, "Start the container again")


def is_bare(on_host: MountEntry, destination: str, table: Iterable[MountEntry]) -> bool:
    """Whether the container shows something else than the storage that is mounted on the host."""
    shown = [entry for entry in table if entry.mount_point == destination]
    return bool(shown) and is_foreign_type(on_host.fs_type) and shown[-1].device != on_host.device


def _nest(mounts: Sequence[Mount]) -> bool:
    places = sorted(mount.destination + "/" for mount in mounts)
    return any(inner.startswith(outer) for outer, inner in itertools.pairwise(places))
