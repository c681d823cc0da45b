"""Does the storage under a path answer at all?

stat(2) on a server that is gone sleeps in the kernel, and a thread that sleeps there cannot be stopped. So somebody
else's path is looked at first by a child that can be left behind.
"""

import errno
import subprocess


def require_answer(path: str, seconds: float) -> None:
    """Returns when a look at the path came back, whatever it saw. Raises TimeoutError when it did not in time."""
    child = subprocess.Popen(
        ["stat", "--", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        # Not waited for: where even SIGKILL has to wait for the server, so would we. Popen reaps it later.
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {seconds:g} s", path) from None
