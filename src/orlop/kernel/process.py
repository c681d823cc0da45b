"""Processes by identity: a pid alone may have been handed to somebody else since."""

import ctypes
import os
import signal
from pathlib import Path

from orlop.kernel.libc import LIBC, check

_PR_SET_PDEATHSIG = 1


def start_ticks(pid: int) -> int:
    """When the process began, in clock ticks since boot (/proc/<pid>/stat field 22). ProcessLookupError when gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(3, "No such process", str(pid)) from error
    # The command name (field 2) is in parentheses and may hold anything, spaces and parentheses too.
    return int(text[text.rindex(")") + 2 :].split(" ")[19])


def parent_pid(pid: int) -> int:
    """ProcessLookupError when gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(3, "No such process", str(pid)) from error
    return int(text[text.rindex(")") + 2 :].split(" ")[1])


def child_pids(pid: int) -> list[int]:
    """Of a process of one thread. None when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_same_process(pid: int, ticks: int) -> bool:
    """True while the process that began at `ticks` lives. A zombie counts as ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = text[text.rindex(")") + 2 :].split(" ")
    return int(fields[19]) == ticks and fields[0] not in ("Z", "X")


def open_pidfd(pid: int, ticks: int) -> int:
    """A descriptor of that very process, readable when it has ended. ProcessLookupError when it has gone."""
    fd = os.pidfd_open(pid)
    if not is_same_process(pid, ticks):
        os.close(fd)
        raise ProcessLookupError(3, "No such process", str(pid))
    return fd


def working_in(directory: Path) -> list[int]:
    """Processes whose working directory it is. A zombie has none."""
    found = []
    wanted = directory.resolve()
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if entry.readlink() == wanted:
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it has ended
    return found


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when the thread that started it ends. Ends at once where `parent` is gone."""
    check(LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)), "prctl")
    if os.getppid() != parent:
        os._exit(1)


CAP_SYS_RESOURCE = 24


def has_capability(number: int) -> bool:
    """Whether this process has it in effect (capabilities(7)); CAP_* as in linux/capability.h."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, mask = line.partition(":")
        if name == "CapEff":
            return bool(int(mask, 16) >> number & 1)
    return False
