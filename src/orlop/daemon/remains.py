"""What still runs of a data root whose journal is lost: containers go on without any daemon.

Each container is held by a conmon process, whose command line names the container, its bundle and its log.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from orlop.kernel.mount_users import Place, place_of
from orlop.kernel.mounts import read_mounts
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class RunningContainer:
    id: str
    name: str
    pid: int  # its first process; 0 where it cannot be told
    supervisor_pid: int
    command: str
    volumes: tuple[str, ...]


def running_containers(data_root: Path, volumes: Path) -> list[RunningContainer]:
    found: dict[str, RunningContainer] = {}
    for supervisor_pid, words in _supervisors():
        options = _options(words)
        container_id = options.get("-c", "")
        if container_id in found or not _is_of(data_root, options):
            continue
        pid = _number_in(options.get("-p", ""))
        if pid and not _is_child(pid, supervisor_pid):
            continue  # it has ended, and its number is perhaps somebody else's
        held = _volumes_of(pid, volumes) if pid else ()
        found[container_id] = RunningContainer(
            container_id, options.get("-n", "") or container_id[:12], pid, supervisor_pid, _command(pid), held
        )
    return sorted(found.values(), key=lambda container: container.name)


def _supervisors() -> Iterator[tuple[int, Sequence[str]]]:
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(words[0]).name == "conmon":
            yield int(name), words


def _options(words: Sequence[str]) -> Mapping[str, str]:
    """The first of each name: what follows may be words of a user's."""
    return dict(reversed([pair for pair in pairwise(words) if pair[0].startswith("-")]))


def _is_of(data_root: Path, options: Mapping[str, str]) -> bool:
    """By its log, or, of a container without one, by where its bundle says the root file system is."""
    if options.get("-l", "").removeprefix("k8s-file:").startswith(f"{data_root}/"):
        return True
    try:
        bundle = json.loads(Path(options.get("-b", ""), "config.json").read_bytes())
        return str(bundle["root"]["path"]).startswith(f"{data_root}/")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_child(pid: int, parent: int) -> bool:
    try:
        # The name before it may hold anything, a parenthesis too (proc_pid_stat(5)).
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == parent
    except (OSError, ValueError, IndexError):
        return False


def _number_in(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return " ".join(words).strip()[:80]


def _volumes_of(pid: int, volumes: Path) -> tuple[str, ...]:
    """Names of the volumes of which the process has something mounted."""
    try:
        directories = place_of(volumes)
        mounted = _mounted_in(volumes.resolve())
        table = read_mounts(f"/proc/{pid}/mountinfo")
    except OSError:
        return ()
    inside = directories.path.rstrip("/") + "/"
    found = set()
    for entry in table:
        if directories.holds(entry) and entry.root.startswith(inside):
            found.add(entry.root[len(inside) :].partition("/")[0])
        found |= {name for name, place in mounted if place.holds(entry)}
    return tuple(sorted(name for name in found if not name.startswith(".")))


def _mounted_in(volumes: Path) -> list[tuple[str, Place]]:
    """What is mounted as the data of volumes, whose options say so."""
    prefix = f"{volumes}/"
    return [
        (entry.mount_point[len(prefix) :].partition("/")[0], Place(entry.device, entry.root))
        for entry in read_mounts()
        if entry.mount_point.startswith(prefix)
    ]
