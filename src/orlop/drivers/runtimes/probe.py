"""Which OCI runtime works on this host, and how it must be called."""

import shutil
import subprocess
from pathlib import Path

from orlop.drivers.runtimes.cgroups import CgroupLayout, find_layout
from orlop.errors import Unavailable
from orlop.model.value import dataclass

# crun first: it creates and starts a container in a third of runc's time.
KNOWN = ("crun", "runc")

# crun refuses hosts with v1 controllers beside an empty v2 tree. In a mount namespace of its own that hides the empty
# tree it works. Only the runtime is put there, never the supervisor: a namespace that lives as long as the container
# would hold on to a copy of every mount of the host. unshare makes the copy private, so the unmount stays inside; where
# a container is to see what is mounted on the host later, only the tree of the unmount is made private.
_CGROUPS = "/sys/fs/cgroup"
_UNIFIED = f"{_CGROUPS}/unified"


@dataclass(frozen=True, slots=True)
class FoundRuntime:
    name: str
    program: str  # for what needs no cgroup layout: start, kill, delete, pause
    creator: tuple[str, ...]  # for create and exec: the program, or what calls it on a host that it refuses
    passing_creator: tuple[str, ...]  # the same, for containers to whom mounts on the host are passed on, or from
    version: str
    layout: CgroupLayout


def find_runtime(choice: str) -> FoundRuntime:
    """The runtime called `choice` (a name or a path), or the first that is installed for "". Unavailable, with what to
    install, when there is none."""
    names = [choice] if choice else list(KNOWN)
    for name in names:
        program = shutil.which(name)
        if program is None:
            continue
        kind = Path(program).name
        layout = find_layout()
        creator: tuple[str, ...] = (program,)
        passing = creator
        if kind == "crun" and layout is CgroupLayout.HYBRID:
            creator, passing = _beside_empty_v2(program), _beside_empty_v2(program, passing=True)
        return FoundRuntime(kind, program, creator, passing, _version(program), layout)
    wanted = f"container runtime {choice}" if choice else "container runtime"
    package = choice if choice in KNOWN else "crun"
    raise Unavailable(wanted, "not installed", f"Install one: apt-get install {package}")


def find_supervisor() -> str:
    program = shutil.which("conmon")
    if program is None:
        raise Unavailable("container supervisor conmon", "not installed", "Install it: apt-get install conmon")
    return program


def find_init() -> str:
    """A small init for `--init`, or "" when none is installed."""
    for name in ("docker-init", "tini-static", "catatonit", "tini"):  # static ones first: an image may lack the library
        program = shutil.which(name)
        if program is not None:
            return program
    return ""


def _beside_empty_v2(program: str, passing: bool = False) -> tuple[str, ...]:
    """What to put before crun's arguments. busybox, where it has what is needed, takes half the time of util-linux,
    whose umount reads the whole mount table."""
    kept = ("--propagation", "unchanged") if passing else ()
    busybox = shutil.which("busybox")
    if busybox is not None:
        quick = (busybox, "unshare", "-m", *kept, busybox, "sh", "-c", _hiding(busybox + " ", "", passing))
        if _succeeds([*quick, "/bin/true"]):
            return (*quick, program)
    unshare, umount = shutil.which("unshare"), shutil.which("umount")
    if unshare is None or umount is None:
        raise Unavailable("unshare and umount", "not installed", "Install them: apt-get install util-linux mount")
    return (unshare, "--mount", *kept, "--", "/bin/sh", "-c", _hiding("", "-n -c -i ", passing), program)


def _hiding(prefix: str, options: str, passing: bool) -> str:
    first = f"{prefix}mount --make-private {_CGROUPS} && " if passing else ""
    return f'{first}{prefix}umount {options}{_UNIFIED} && exec "$0" "$@"'


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _version(program: str) -> str:
    """The first line of --version holds it, e.g. "crun version 1.8.1"."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(program, f"does not run: {error}") from error
    words = said.split("\n", 1)[0].split()
    return words[-1] if words else ""
