"""What is done to a file system of the SAN by calls to the kernel, in a process that can be killed: the storage may not
answer, and whoever waits for it then sleeps in the kernel.

    dress   a new one: no lost+found (an application that wants an empty directory would refuse it), owner and mode
    grow    a mounted one: the loop device takes the size of its file, the file system that of the loop device
    scan    a SCSI host: is a unit there; it gets a block device
    rescan  a block device: how large it is now
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orlop.errors import HostFailure
from orlop.kernel import ext4, xfs
from orlop.kernel.detached_mount import mount_detached
from orlop.kernel.device_look import last_line, run_within
from orlop.kernel.libc import sync_file_system
from orlop.kernel.loop import set_capacity

_COMMAND = (sys.executable, "-m", __name__)
_NOT_ALLOWED = 77  # how the process ends
_NOTICE_SECONDS = 5.0  # the file's size is remembered by the kernel for a moment


def work_within(seconds: float, subject: str, work: str, **arguments: object) -> None:
    """Raises HostFailure, TimeoutError; PermissionError where this process may not."""
    done = run_within(seconds, (*_COMMAND, work, json.dumps(arguments)))
    if done.returncode == _NOT_ALLOWED:
        raise PermissionError(1, last_line(done))
    if done.returncode:
        raise HostFailure(subject, f"its file system cannot be taken into use ({work}): {last_line(done)}")


def dress(device: str, fs_type: str, uid: int | None, gid: int | None, mode: int | None) -> None:
    tree_fd = mount_detached(fs_type, device)
    top_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree_fd)
    with suppress(FileNotFoundError):
        os.rmdir("lost+found", dir_fd=top_fd)
    os.fchown(top_fd, -1 if uid is None else uid, -1 if gid is None else gid)
    if mode is not None:
        os.fchmod(top_fd, mode)
    sync_file_system(top_fd)


def grow(device: str, disk: str, size: int, data: str, fs_type: str) -> None:
    deadline = time.monotonic() + _NOTICE_SECONDS
    while disk and Path(disk).stat().st_size < size and time.monotonic() < deadline:
        time.sleep(0.1)
    fd = os.open(device, os.O_RDWR)
    if disk:
        set_capacity(fd)
    if os.lseek(fd, 0, os.SEEK_END) < size:
        raise OSError("the device is not as large as its storage says")
    top_fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    if os.fstat(top_fd).st_dev != os.fstat(fd).st_rdev:
        raise OSError(f"something else is mounted on {data}")
    if fs_type == "xfs":
        xfs.resize(top_fd, size // os.fstatvfs(top_fd).f_bsize)
    else:
        ext4.resize(top_fd, size // os.fstatvfs(top_fd).f_bsize)


def scan(host: str, lun: int) -> None:
    Path(f"/sys/class/scsi_host/{host}/scan").write_text(f"0 0 {lun}")


def rescan(disk: str) -> None:
    Path(f"/sys/block/{disk}/device/rescan").write_text("1")


def main() -> None:
    works: dict[str, Callable[..., None]] = {"dress": dress, "grow": grow, "scan": scan, "rescan": rescan}
    work = works[sys.argv[1]]
    try:
        work(**json.loads(sys.argv[2]))
    except PermissionError as error:
        print(error, file=sys.stderr)
        sys.exit(_NOT_ALLOWED)
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
