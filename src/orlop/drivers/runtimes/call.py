"""Run a short-lived program to its end, with a deadline.

subprocess's own deadlines poll in growing sleeps, which costs milliseconds a container; a pidfd wakes at once.
"""

import os
import select
import subprocess
from collections.abc import Mapping, Sequence

ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def call(command: Sequence[str], seconds: float) -> tuple[int, str]:
    """The exit code and what it wrote to stderr (the first 64 KiB). TimeoutError when it did not end in time; it is
    killed then."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stderr is not None
    with process.stderr as errors:
        in_time = ends_within(process.pid, seconds)
        if in_time:
            process.wait()
        else:
            # Not waited for: where even SIGKILL has to wait for storage that hangs, so would we. Popen reaps it later.
            process.kill()
        os.set_blocking(errors.fileno(), False)  # a grandchild may hold it open
        said = errors.read(1 << 16) or b""
    if not in_time:
        raise TimeoutError(110, f"gave no answer in {seconds:.0f} seconds", command[0])
    return process.returncode, said.decode(errors="replace")


def ends_within(pid: int, seconds: float) -> bool:
    """Wait for a child of ours, which stays to be reaped."""
    fd = os.pidfd_open(pid)
    try:
        return is_readable(fd, seconds)
    finally:
        os.close(fd)


def is_readable(fd: int, seconds: float) -> bool:
    poller = select.poll()  # unlike select(), for descriptors past 1023 too
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))
