"""Which OCI runtime works on this host, and how it must be called."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orlop.drivers.runtimes.cgroups import CgroupLayout, find_layout
from orlop.errors import Unavailable

# crun first: it creates and starts a container in a third of runc's time.
KNOWN = ("crun", "runc")

# crun refuses hosts with v1 controllers beside an empty v2 tree. In a mount namespace of its own that hides the empty
# tree it works. Only the runtime is put there, never the supervisor: a namespace that lives as long as the container
# would hold on to a copy of every mount of the host. unshare makes the copy private, so the unmount stays inside.
_HIDE_UNIFIED = """#!/bin/sh
exec unshare --mount -- /bin/sh -c 'umount /sys/fs/cgroup/unified && exec {program} "$@"' {name} "$@"
"""


@dataclass(frozen=True, slots=True)
class FoundRuntime:
    name: str
    program: str  # for what needs no cgroup layout: start, kill, delete, pause
    creator: str  # for create and exec: the program or the wrapper around it
    version: str
    layout: CgroupLayout


def find_runtime(choice: str, state: Path) -> FoundRuntime:
    """The runtime called `choice` (a name or a path), or the first that is installed for "". `state` is where a
    wrapper may be written. Unavailable, with what to install, when there is none."""
    names = [choice] if choice else list(KNOWN)
    for name in names:
        program = shutil.which(name)
        if program is None:
            continue
        kind = Path(program).name
        layout = find_layout()
        creator = program
        if kind == "crun" and layout is CgroupLayout.HYBRID:
            creator = str(_write_wrapper(program, state))
        return FoundRuntime(kind, program, creator, _version(program), layout)
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
    for name in ("docker-init", "tini", "catatonit"):
        program = shutil.which(name)
        if program is not None:
            return program
    return ""


def _write_wrapper(program: str, state: Path) -> Path:
    wrapper = state / "crun-beside-empty-v2"
    text = _HIDE_UNIFIED.format(program=program, name="crun")
    if not wrapper.exists() or wrapper.read_text() != text:
        temporary = wrapper.with_suffix(".new")
        temporary.write_text(text)
        temporary.chmod(0o700)
        temporary.rename(wrapper)
    return wrapper


def _version(program: str) -> str:
    """The first line of --version holds it, e.g. "crun version 1.8.1"."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(program, f"does not run: {error}") from error
    words = said.split("\n", 1)[0].split()
    return words[-1] if words else ""
