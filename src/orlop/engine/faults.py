"""Where a test may break the engine: each step of each plan, before and after, by name.

    ORLOP_FAULT="container.create/layer.prepare/after=kill"        SIGKILL to the daemon
    ORLOP_FAULT="image.load/layer.apply/before=errno:ENOSPC"       that error is raised there

`ORLOP_FAULT_LOG=FILE` appends the name of each point passed, which is how the crash tests learn them all.
Read once at start; without the variables a point costs one comparison.
"""

import errno
import os
import signal

_FAULT = os.environ.get("ORLOP_FAULT", "")
_LOG = os.environ.get("ORLOP_FAULT_LOG", "")


def point(operation: str, action: str, moment: str) -> None:
    """`moment` is before, after, undo or commit."""
    if not _FAULT and not _LOG:
        return
    name = f"{operation}/{action}/{moment}"
    if _LOG:
        with open(_LOG, "a") as log:  # noqa: PTH123 - opened for each line: the process may be killed at any
            log.write(name + "\n")
    wanted, _, deed = _FAULT.partition("=")
    if wanted != name:
        return
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed.startswith("errno:"):
        number = getattr(errno, deed.removeprefix("errno:"))
        raise OSError(number, os.strerror(number), f"fault injected at {name}")
