"""What is on a block device, found out by a process that can be killed: whoever reads from storage that does not answer
sleeps in the kernel.
"""

import errno
import json
import os
import subprocess
import sys

from orlop.kernel.work_lock import handed_on
from orlop.model.value import dataclass

_END_BYTES = 1 << 20
_HEAD_BYTES = 4096
_COMMAND = (sys.executable, "-m", __name__)


@dataclass(frozen=True, slots=True)
class DeviceLook:
    size_bytes: int
    has_zero_ends: bool  # the first and the last mebibyte
    head: bytes  # the first 4096 bytes


def look_within(seconds: float, path: str, command: tuple[str, ...] = _COMMAND) -> DeviceLook:
    """Raises OSError as reading does, TimeoutError when there is no answer in time."""
    done = run_within(seconds, (*command, path))
    if done.returncode:
        raise OSError(errno.EIO, f"reading it failed: {last_line(done)}", path)
    found = json.loads(done.stdout)
    return DeviceLook(found["size"], found["zero"], bytes.fromhex(found["head"]))


def run_within(seconds: float, command: tuple[str, ...]) -> "subprocess.CompletedProcess[bytes]":
    """Raises TimeoutError when it did not end in time. Then it is killed and not waited for: where even SIGKILL has to
    wait for the storage, so would we. Popen reaps it later."""
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, pass_fds=handed_on())
    try:
        out, said = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        raise TimeoutError(errno.ETIMEDOUT, f"{command[0]}: no end within {seconds:g} s") from None
    return subprocess.CompletedProcess(command, child.returncode, out, said)


def last_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Of what a program said, for people."""
    lines = [line.strip() for line in (done.stderr or done.stdout).decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), f"it ended with {done.returncode}")


def main() -> None:
    fd = os.open(sys.argv[1], os.O_RDONLY | os.O_CLOEXEC)
    size = os.lseek(fd, 0, os.SEEK_END)
    first = os.pread(fd, _END_BYTES, 0)
    last = os.pread(fd, _END_BYTES, max(0, size - _END_BYTES))
    print(json.dumps({"size": size, "zero": not any(first) and not any(last), "head": first[:_HEAD_BYTES].hex()}))


if __name__ == "__main__":
    main()
