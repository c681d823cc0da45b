"""What processes have open on mounts: files, working directories, roots, memory maps, sockets, watches.

A mount is named by its number, which stands in /proc/<pid>/fdinfo beside each descriptor: so nothing that is open is
touched, and storage that hangs holds nobody up. What the kernel tells of a descriptor without a number of a mount (a
watch, the files of an io_uring, those sent to a socket that nobody has received yet) counts as open where it cannot be
told: taking too much for open costs a restart, too little costs data.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class OpenFile:
    pid: int
    program: str
    what: str  # "has /data/file open"

    def __str__(self) -> str:
        return f"{self.program} ({self.pid}) {self.what}"


@dataclass(frozen=True, slots=True)
class Place:
    """A mount of a container."""

    mount_id: int
    path: str  # as its processes spell it
    device: str  # major:minor


def find_open(pids: Collection[int], namespace: str, places: Collection[Place]) -> OpenFile | None:
    """The first of what these processes have open there; a process in another mount namespace than `namespace` (as
    /proc/<pid>/ns/mnt reads) may have more than can be seen from here. Of processes that stand still this is the truth,
    of others it is one moment's."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            what = _of_process(pid, namespace, places)
            if what:
                return OpenFile(pid, _program(pid), what)
    return None


def mount_namespace(pid: int) -> str:
    """Raises OSError where the process has ended."""
    return str(Path(f"/proc/{pid}/ns/mnt").readlink())


def _of_process(pid: int, namespace: str, places: Collection[Place]) -> str:
    if mount_namespace(pid) != namespace:
        return "has a mount namespace of its own"
    ids = {place.mount_id for place in places}
    devices = {_as_in_watches(place.device) for place in places}
    for task in os.listdir(f"/proc/{pid}/task"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # Threads mostly share these; one that does not may have something else open.
            what = _of_task(f"/proc/{pid}/task/{task}", ids, devices)
            if what:
                return what
    for name in os.listdir(f"/proc/{pid}/map_files"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if _number(f"/proc/{pid}/map_files/{name}") in ids:
                return f"has {Path(f'/proc/{pid}/map_files/{name}').readlink()} in its memory"
    return _socket(pid, places)


def _of_task(task: str, ids: set[int], devices: set[str]) -> str:
    for name, what in (("cwd", "works in"), ("root", "has as its root")):
        if _number(f"{task}/{name}") in ids:
            return f"{what} {Path(f'{task}/{name}').readlink()}"
    for fd in os.listdir(f"{task}/fdinfo"):
        with suppress(FileNotFoundError, ProcessLookupError):
            facts = Path(f"{task}/fdinfo/{fd}").read_text()
            if _mount_in(facts) in ids and (path := str(Path(f"{task}/fd/{fd}").readlink())).startswith("/"):
                return f"has {path} open"  # else it was closed meanwhile, and the number is another's
            if _watched_in(facts) & devices:
                return "watches files, perhaps there"
            if "scm_fds:" in facts and "scm_fds: 0\n" not in facts:
                return "has files on their way to it in a socket, perhaps from there"
            if "UserFiles:" in facts and "UserFiles:\t0\n" not in facts:
                return "has files in an io_uring, perhaps from there"
    return ""


def _number(path: str) -> int:
    """Of the mount that a link of /proc leads into."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return _mount_in(Path(f"/proc/self/fdinfo/{fd}").read_text())
    finally:
        os.close(fd)


def _mount_in(facts: str) -> int:
    return next((int(line.split()[1]) for line in facts.splitlines() if line.startswith("mnt_id:")), 0)


def _watched_in(facts: str) -> set[str]:
    """Devices of the files that a descriptor watches: of inotify ("sdev:") and fanotify."""
    lines = [line for line in facts.splitlines() if line.startswith(("inotify ", "fanotify "))]
    return {word.removeprefix("sdev:") for line in lines for word in line.split() if word.startswith("sdev:")}


def _as_in_watches(device: str) -> str:
    major, _, minor = device.partition(":")
    return f"{int(major) << 20 | int(minor):x}"


def _socket(pid: int, places: Collection[Place]) -> str:
    """One that listens at a path there: its file is of no use in another place."""
    for path in _bound(pid):
        if any(path.startswith(place.path.rstrip("/") + "/") for place in places):
            return f"listens at {path}"
    return ""


def _bound(pid: int) -> Iterator[str]:
    """Paths of unix sockets in the process's network namespace."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/net/unix").read_text(errors="replace").splitlines()[1:]:
            words = line.split(maxsplit=7)
            if len(words) == 8 and words[7].startswith("/"):
                yield words[7]


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process"
