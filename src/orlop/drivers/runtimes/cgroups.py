"""Where a container's cgroup is, and what can be read from it without asking the runtime.

On v1 each controller has a tree of its own under /sys/fs/cgroup; a container has the same path in each. On v2 there is
one tree. A *hybrid* host has v1 controllers and an empty v2 tree beside them at /sys/fs/cgroup/unified.
"""

import contextlib
import errno
import os
import signal
import time
from enum import StrEnum
from pathlib import Path

from orlop.errors import Malformed, Unsupported
from orlop.model.value import dataclass

ROOT = Path("/sys/fs/cgroup")
_DEFAULT_PARENT = "/orlop"


class CgroupLayout(StrEnum):
    LEGACY = "v1"
    HYBRID = "v1 with an empty v2"
    UNIFIED = "v2"


@dataclass(frozen=True, slots=True)
class Controllers:
    """What this host can limit."""

    memory: bool
    swap: bool
    cpu: bool
    cpu_quota: bool
    cpuset: bool
    pids: bool


def find_layout(root: Path = ROOT) -> CgroupLayout:
    if (root / "cgroup.controllers").exists():
        return CgroupLayout.UNIFIED
    if (root / "unified" / "cgroup.procs").exists():
        return CgroupLayout.HYBRID
    return CgroupLayout.LEGACY


def find_controllers(layout: CgroupLayout, root: Path = ROOT) -> Controllers:
    if layout is CgroupLayout.UNIFIED:
        names = (root / "cgroup.controllers").read_text().split()
        memory, cpu = "memory" in names, "cpu" in names
        # The root of the v2 tree has no memory.swap.max; /proc/swaps or the kernel's default say nothing either, and
        # every kernel with v2's memory controller counts swap unless it was booted with swapaccount=0.
        return Controllers(memory, memory, cpu, cpu, "cpuset" in names, "pids" in names)
    return Controllers(
        memory=(root / "memory" / "memory.limit_in_bytes").exists(),
        swap=(root / "memory" / "memory.memsw.limit_in_bytes").exists(),
        cpu=(root / "cpu" / "cpu.shares").exists(),
        cpu_quota=(root / "cpu" / "cpu.cfs_quota_us").exists(),
        cpuset=(root / "cpuset" / "cpuset.cpus").exists(),
        pids=(root / "pids" / "cgroup.procs").exists(),
    )


def available(kind: str, layout: CgroupLayout, root: Path = ROOT) -> str:
    """The CPUs (`cpus`) or memory nodes (`mems`) that this host has, as in 0-3,8; "" when the kernel does not tell."""
    name = f"cpuset.{kind}.effective" if layout is CgroupLayout.UNIFIED else f"cpuset/cpuset.{kind}"
    try:
        return (root / name).read_text().strip()
    except FileNotFoundError:
        return ""


def parse_set(text: str) -> frozenset[int]:
    """0-2,5 as numbers. ValueError when it is none."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, separator, last = part.partition("-")
        low, high = int(first), int(last if separator else first)
        if not 0 <= low <= high < 1 << 16:
            raise ValueError(f"invalid range: {part}")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def cgroup_path(container_id: str, parent: str) -> str:
    """Below the root of each tree, e.g. /orlop/<id>. Malformed for a parent that leads out of it."""
    if ".." in parent.split("/"):
        raise Malformed(f"cgroup parent {parent}", "must not contain ..", "Give a path below the cgroup root")
    base = parent.strip("/")
    return f"/{base}/{container_id}" if base else f"{_DEFAULT_PARENT}/{container_id}"


def directory_of(path: str, layout: CgroupLayout, root: Path = ROOT) -> Path:
    """The directory that lists a container's processes."""
    relative = path.lstrip("/")
    if layout is CgroupLayout.UNIFIED:
        return root / relative
    # Every v1 tree lists them all; pids and devices are where a runtime always puts a container.
    for controller in ("pids", "devices", "memory", "systemd"):
        directory = root / controller / relative
        if directory.exists():
            return directory
    return root / "pids" / relative


def processes_in(directory: Path) -> tuple[int, ...]:
    """Host pids in the cgroup and in those below it; empty when it is gone."""
    found: list[int] = []
    for listing in (directory / "cgroup.procs", *directory.rglob("*/cgroup.procs")):
        try:
            found += [int(line) for line in listing.read_text().split()]
        except (FileNotFoundError, OSError):
            continue  # removed while we looked
    return tuple(dict.fromkeys(found))


def is_frozen(path: str, layout: CgroupLayout, root: Path = ROOT) -> bool:
    relative = path.lstrip("/")
    try:
        if layout is CgroupLayout.UNIFIED:
            return (root / relative / "cgroup.freeze").read_text().strip() == "1"
        return (root / "freezer" / relative / "freezer.state").read_text().strip() == "FROZEN"
    except FileNotFoundError:
        return False


def is_still(path: str, layout: CgroupLayout, root: Path = ROOT) -> bool:
    """Whether everything in it has stopped, and not only been told to. A cgroup that is gone has."""
    relative = path.lstrip("/")
    try:
        if layout is CgroupLayout.UNIFIED:
            return "frozen 1" in (root / relative / "cgroup.events").read_text()
        return (root / "freezer" / relative / "freezer.state").read_text().strip() == "FROZEN"
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return True
        raise


def set_frozen(path: str, layout: CgroupLayout, frozen: bool, root: Path = ROOT) -> None:
    """Nobody is waited for: what sleeps in the kernel is frozen when it wakes. A cgroup that is gone needs nothing.
    Raises Unsupported where this host has no freezer."""
    relative = path.lstrip("/")
    if not relative:
        return
    if layout is CgroupLayout.UNIFIED:
        switch, word = root / relative / "cgroup.freeze", "1" if frozen else "0"
    else:
        switch, word = root / "freezer" / relative / "freezer.state", "FROZEN" if frozen else "THAWED"
        if not (root / "freezer" / "cgroup.procs").exists():
            raise Unsupported(f"cgroup {path}", "this host has no freezer", "Mount it: cgroup, option freezer")
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(switch, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, word.encode())
        finally:
            os.close(fd)


def clear(path: str, layout: CgroupLayout, root: Path = ROOT) -> bool:
    """Kill whatever is in a cgroup and remove it. False when that was not done in five seconds."""
    deadline = time.monotonic() + 5
    while not remove(path, layout, root):
        if time.monotonic() > deadline:
            return False
        for pid in processes_in(directory_of(path, layout, root)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)  # a dying process leaves its cgroup a moment later, and nothing tells when
    return True


def remove(path: str, layout: CgroupLayout, root: Path = ROOT) -> bool:
    """Remove a cgroup that holds no process from every tree, with those that the container made below it. False when
    some process is still in it, or nobody knows where it was."""
    relative = path.lstrip("/")
    if not relative:
        return False
    trees = [root] if layout is CgroupLayout.UNIFIED else [entry for entry in root.iterdir() if entry.is_dir()]
    for tree in trees:
        try:
            (tree / relative).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            if not _remove_with_all_below(tree / relative):
                return False
    return True


def _remove_with_all_below(top: Path) -> bool:
    try:
        for directory in reversed(_with_all_below(top)):
            directory.rmdir()
    except FileNotFoundError:
        return not top.exists()
    except OSError:
        return False
    return True


def _with_all_below(top: Path) -> list[Path]:
    found = [top]
    for directory in found:  # grows while it is walked: as deep as the container liked
        found += [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    return found
