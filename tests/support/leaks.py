"""What a daemon left on this machine: mounts, processes, loop devices, network things that name its places."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

EXEC_ROOTS = "/run/orlop-"  # what those of all daemons of tests begin with
_LEAVING_SECONDS = 5.0


def find_leaks(places: Sequence[Path], bridge: str = "") -> list[str]:
    """Everything of this kernel that still points at one of `places` or hangs on `bridge`, in words."""
    needles = [str(place) for place in places]
    found = [f"mount {line}" for line in _mounts("self") if any(needle in line for needle in needles)]
    found += _processes(needles)
    found += [line for place in places for line in loop_devices_below(place)]
    if bridge:
        links = json.loads(_run("ip", "-json", "link", "show") or "[]")
        found += [f"interface {link['ifname']}" for link in links if link.get("master") == bridge]
        tables = _run("nft", "list", "tables").splitlines()
        found += [line for line in tables if line.endswith(f" orlop-{bridge}")]
    return found


def descriptors() -> set[tuple[str, str]]:
    """What this process has open: number and file. Compare by `<=`: what earlier tests forgot may go at any moment,
    whenever the interpreter collects its garbage."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add((number, str(Path(f"/proc/self/fd/{number}").readlink())))
    return found


def find_lasting_leaks(places: Sequence[Path], bridge: str = "") -> list[str]:
    """What goes by itself is no leak: a child of the daemon that dies with it, and the host that another test has just
    switched on, which is born with a copy of all mounts and lets go of them first."""
    until = time.monotonic() + _LEAVING_SECONDS
    while found := find_leaks(places, bridge):
        if time.monotonic() > until or not all(leak.startswith("process ") for leak in found):
            break
        time.sleep(0.05)
    return found


def loop_devices_below(place: Path) -> list[str]:
    """Those whose file is there, also when it has been deleted."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            file = backing.read_text().strip()
        except OSError:
            continue  # it went while we looked
        if file.startswith(f"{place}/"):
            found.append(f"loop device {backing.parts[3]} {file}")
    return found


def _processes(needles: Sequence[str]) -> list[str]:
    """By their command line, or because their own mount namespace holds a mount made of one of the places. What another
    test's runtime was born with is not ours: it may hang on that test's storage for long."""
    own_namespace = Path("/proc/self/ns/mnt").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if any(needle in command for needle in needles):
                found.append(f"process {entry.name} {command[:200]}")
            elif (
                f"--root={EXEC_ROOTS}" not in command
                and (entry / "ns/mnt").readlink() != own_namespace
                and any(needle in line for line in _mounts(entry.name) for needle in needles)
            ):
                found.append(f"process {entry.name} {command[:200]} (in a mount namespace of its own)")
        except OSError:
            continue  # it ended while we looked
    return found


def _mounts(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
