"""Put another mount in the place of one in the mount namespace of another process, which goes on meanwhile.

Done by a child: entering a namespace changes a whole process, and what is mounted there may be dead and let nobody go.

The new mount goes beneath the dead one, which is then taken off (MOVE_MOUNT_BENEATH, Linux 6.5): so there is no moment
at which the directory below both can be seen, and written to. An older kernel puts it on top, and the dead one stays
beneath, out of sight, until the namespace ends.

The namespace belongs to somebody who is not trusted. So the mount is found by its number, no part of the path to it may
be a link, and what is taken off is what was looked at.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys

from orlop.kernel.libc import LIBC, SYS_MOVE_MOUNT, check
from orlop.kernel.mounts import MNT_DETACH, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
from orlop.kernel.namespaces import CLONE_NEWNS, setns
from orlop.kernel.openat2 import open_without_links

_COMMAND = (sys.executable, "-m", __name__)
_MOVE_MOUNT_BENEATH = 0x200


def replace_mount(
    namespace: int, tree: int, mount_point: str, mount_id: int, seconds: float, command: tuple[str, ...] = _COMMAND
) -> None:
    """`tree` (a detached copy, which is used up) takes the place of the mount of that number on `mount_point` as the
    namespace spells it. Raises OSError with what the kernel says, then nothing has changed, or TimeoutError."""
    question = {"namespace": namespace, "tree": tree, "mount_point": mount_point, "mount_id": mount_id}
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[namespace, tree],
    )
    try:
        answer, complaint = child.communicate(json.dumps(question).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        # Not waited for: where even SIGKILL has to wait for the server, so would we. Popen reaps it later.
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {seconds:g} s", mount_point) from None
    try:
        number, said = json.loads(answer)
    except ValueError:
        why = f"the process that mounts ended with {child.returncode}: {complaint.decode(errors='replace')[-200:]}"
        raise OSError(errno.EIO, why, mount_point) from None
    if number:
        raise OSError(number, said, mount_point)


def _replace(namespace: int, tree: int, mount_point: str, mount_id: int) -> None:
    # The container's /proc shows its own processes, or nothing at all.
    own_fds = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    own_facts = os.open("/proc/self/fdinfo", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    setns(namespace, CLONE_NEWNS)
    target = open_without_links(mount_point, os.O_PATH)
    if _mount_id(own_facts, target) != mount_id:
        raise OSError(errno.ESTALE, "something else is mounted there by now")
    try:
        _move(tree, target, _MOVE_MOUNT_BENEATH)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _move(tree, target, 0)
        return
    # Named by its descriptor, for the path leads to whatever lies on top.
    os.fchdir(own_fds)
    check(LIBC.umount2(str(target).encode(), MNT_DETACH), "umount", mount_point)


def _move(tree: int, target: int, flags: int) -> None:
    flags |= MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    check(LIBC.syscall(SYS_MOVE_MOUNT, tree, b"", target, b"", ctypes.c_uint(flags)), "move_mount")


def _mount_id(facts: int, fd: int) -> int:
    with os.fdopen(os.open(str(fd), os.O_RDONLY | os.O_CLOEXEC, dir_fd=facts)) as text:
        return next(int(line.split()[1]) for line in text if line.startswith("mnt_id:"))


def main() -> None:
    question = json.load(sys.stdin)
    try:
        _replace(**question)
    except OSError as error:
        print(json.dumps([error.errno or errno.EIO, error.strerror or str(error)]))
    else:
        print(json.dumps([0, ""]))


if __name__ == "__main__":
    main()
