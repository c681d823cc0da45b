"""Who is using volumes of another engine at this moment, whatever that engine thinks of it."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from orlop.kernel.mount_users import mount_users, place_of
from orlop.kernel.mounts import read_mounts


def find_uses(place: Path) -> Mapping[str, tuple[str, ...]]:
    """By volume, in words: what is mounted in it, and which processes have it mounted."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    prefix = f"{place}/"
    for entry in read_mounts():
        if entry.mount_point.startswith(prefix):
            name = entry.mount_point[len(prefix) :].partition("/")[0]
            found[name][f"{entry.mount_point} is mounted"] = None
    here = place_of(place)
    inside = here.path.rstrip("/") + "/"
    for user in mount_users([here]):
        name = user.entry.root[len(inside) :].partition("/")[0] if user.entry.root.startswith(inside) else ""
        if name:
            found[name][f"process {user.pid} has it mounted at {user.entry.mount_point}"] = None
    return {name: tuple(words) for name, words in found.items()}
