"""mount(2) and umount2(2) in a process that can be killed.

A call to a server that does not answer sleeps in the kernel, and a thread that sleeps there cannot be stopped. So what
is asked of somebody else's storage is asked by a child, with a deadline. Its arguments travel by pipe: a password in a
mount's data must not show in the list of processes.
"""

import errno
import json
import os
import subprocess
import sys

from orlop.kernel import mounts
from orlop.kernel.work_lock import handed_on

_COMMAND = (sys.executable, "-m", __name__)


def mount_within(
    seconds: float, source: str, target: str, fs_type: str, flags: int, data: str, command: tuple[str, ...] = _COMMAND
) -> None:
    """Raises OSError as mount(2) does, TimeoutError when there is no answer in time."""
    _ask(seconds, {"call": "mount", "arguments": [source, target, fs_type, flags, data]}, command)


def unmount_within(seconds: float, target: str, command: tuple[str, ...] = _COMMAND) -> None:
    _ask(seconds, {"call": "unmount", "arguments": [target]}, command)


def _ask(seconds: float, question: dict[str, object], command: tuple[str, ...]) -> None:
    call = f"{question['call']} by a process of its own"
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=handed_on())
    try:
        answer, complaint = child.communicate(json.dumps(question).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        # Not waited for: where even SIGKILL has to wait for the server, so would we. Popen reaps it later.
        raise TimeoutError(errno.ETIMEDOUT, f"{call}: no answer within {seconds:g} s") from None
    try:
        number = int(answer)
    except ValueError:
        raise OSError(errno.EIO, f"{call}: it ended with {child.returncode}: {complaint.decode()[-200:]}") from None
    if number:
        raise OSError(number, os.strerror(number))


def main() -> None:
    question = json.load(sys.stdin)
    try:
        (mounts.mount if question["call"] == "mount" else mounts.unmount)(*question["arguments"])
    except OSError as error:
        print(error.errno or errno.EIO)
    else:
        print(0)


if __name__ == "__main__":
    main()
