"""A bind mount in a container is as restricted as what it shows.

The kernel gives a bind mount the flags of its source; crun then sets those it was told, and clears all others. So a
source that is read-only, or from which nothing may be executed, says so in the bundle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orlop.drivers.runtimes.driver import BundleMount
from orlop.kernel.foreign import real_path
from orlop.kernel.mounts import escape

_RESTRICTIONS = ("ro", "nosuid", "nodev", "noexec")


def keep_restrictions(mounts: Sequence[BundleMount], table: bytes | None = None) -> tuple[BundleMount, ...]:
    """The mounts, each bind mount with the restrictions of what its source is in. `table`: the mount table's text."""
    if not any(mount.type == "bind" for mount in mounts):
        return tuple(mounts)
    options = _options_by_place(Path("/proc/self/mountinfo").read_bytes() if table is None else table)
    return tuple(_restricted(mount, options) if mount.type == "bind" else mount for mount in mounts)


def _options_by_place(table: bytes) -> dict[bytes, bytes]:
    """Of those mounted at one place, the last is on top."""
    found: dict[bytes, bytes] = {}
    for line in filter(None, table.split(b"\n")):
        fields = line.split(b" ", 6)
        found[fields[4]] = fields[5]
    return found


def _restricted(mount: BundleMount, options: Mapping[bytes, bytes]) -> BundleMount:
    place = escape(real_path(mount.source))
    while place not in options and place not in (b"/", b""):
        place = place.rpartition(b"/")[0] or b"/"
    shown = options.get(place, b"").decode().split(",")
    more = tuple(word for word in _RESTRICTIONS if word in shown and word not in mount.options)
    return replace(mount, options=(*mount.options, *more)) if more else mount
