"""Loop devices: a file as a block device (loop(4)), without the losetup program.

Every device made here clears itself (LO_FLAGS_AUTOCLEAR): it is gone when the last who has it open or mounted lets go,
also when that is the end of a killed process. So there is nothing to release and nothing to leak.
"""

import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SET_CAPACITY = 0x4C07
_GET_STATUS64 = 0x4C05
_CONFIGURE = 0x4C0A  # Linux 5.8: all in one call, so that nobody sees a device half set up
_GET_FREE = 0x4C82

_READ_ONLY = 1
_AUTOCLEAR = 4
_DIRECT_IO = 16

_TRIES = 64
_DELETED = " (deleted)"
_LOOKS, _PAUSE_SECONDS = 20, 0.02


class _Info(ctypes.Structure):
    """struct loop_info64."""

    _fields_ = [
        ("device", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("rdevice", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("size_limit", ctypes.c_uint64),
        ("number", ctypes.c_uint32),
        ("encrypt_type", ctypes.c_uint32),
        ("encrypt_key_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("file_name", ctypes.c_char * 64),
        ("crypt_name", ctypes.c_char * 64),
        ("encrypt_key", ctypes.c_uint8 * 32),
        ("init", ctypes.c_uint64 * 2),
    ]


class _Config(ctypes.Structure):
    """struct loop_config."""

    _fields_ = [
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", _Info),
        ("reserved", ctypes.c_uint64 * 8),
    ]


@contextmanager
def loop_device(file_fd: int, direct: bool = True) -> Iterator[tuple[int, str]]:
    """A loop device of the file, open, and its path; the one that the file has already, if it has one: two devices of
    one file would each keep a cache of it. It lasts as long as this, and longer where it got mounted.

    Not `direct`, one write to the file is done before the next begins."""
    fd, path = _existing(file_fd) or _new(file_fd, direct)
    try:
        yield fd, path
    finally:
        os.close(fd)


def set_capacity(loop_fd: int) -> None:
    """The device takes the size that its file has now."""
    fcntl.ioctl(loop_fd, _SET_CAPACITY)


def find_loop_device(file_fd: int) -> str:
    """The path of the device that the file has; "" when it has none."""
    found = _existing(file_fd)
    if found is None:
        return ""
    os.close(found[0])
    return found[1]


def is_in_use(file_fd: int) -> bool:
    """Whether the file's device is mounted, here or in any other mount namespace. A device that somebody merely looks
    at lasts as long as that, and an unmount may end a moment after its call."""
    for _ in range(_LOOKS):
        path = find_loop_device(file_fd)
        if not path:
            return False
        try:
            os.close(os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.EBUSY:
                return False
        else:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def backed_by(path: str) -> list[str]:
    """The devices whose file is at that path. The file itself is not looked at."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # it went while we looked
            if backing.read_text().removesuffix("\n") == path:
                found.append(f"/dev/{backing.parts[3]}")
    return found


def _new(file_fd: int, direct: bool = True) -> tuple[int, str]:
    config = _Config()
    config.fd = file_fd
    # Without direct I/O each byte would be kept in memory twice. The kernel leaves it out where the file's own disk
    # does not know it.
    config.info.flags = _AUTOCLEAR | (_DIRECT_IO if direct else 0)
    if fcntl.fcntl(file_fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        config.info.flags |= _READ_ONLY
    with _opened("/dev/loop-control") as control_fd:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control_fd, _GET_FREE)}"
            fd = _open_device(path)
            try:
                fcntl.ioctl(fd, _CONFIGURE, config)
            except OSError as error:
                os.close(fd)
                if error.errno not in (errno.EBUSY, errno.ENXIO):
                    raise OSError(error.errno, f"LOOP_CONFIGURE: {os.strerror(error.errno or 0)}", path) from error
                continue  # somebody was faster
            return fd, path
    raise OSError(errno.EBUSY, "LOOP_CTL_GET_FREE: every free device was taken by somebody else", "/dev/loop-control")


def _existing(file_fd: int) -> tuple[int, str] | None:
    """Only devices of a file of that name are asked: the kernel looks at the file before it answers, and one that lies
    on storage that hangs would hold us up for ever."""
    details = os.fstat(file_fd)
    wanted = (_encoded_device(details.st_dev), details.st_ino)
    name = Path(f"/proc/self/fd/{file_fd}").readlink().name.removesuffix(_DELETED)
    for entry in Path("/sys/block").iterdir():
        if not entry.name.startswith("loop") or _file_name_behind(entry) != name:
            continue
        path = f"/dev/{entry.name}"
        with suppress(OSError):
            fd = _open_device(path)
            if _backing(fd) == wanted:
                return fd, path
            os.close(fd)
    return None


def _file_name_behind(device: Path) -> str:
    """ "" for one that has no file. Its last part alone: another mount namespace may spell the rest otherwise."""
    try:
        return Path((device / "loop" / "backing_file").read_text().rstrip("\n")).name.removesuffix(_DELETED)
    except OSError:
        return ""


def _backing(loop_fd: int) -> tuple[int, int] | None:
    """Device and inode of the file behind it; None for a device that was let go this instant."""
    info = _Info()
    try:
        fcntl.ioctl(loop_fd, _GET_STATUS64, info)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            return None
        raise
    return info.device, info.inode


def _encoded_device(device: int) -> int:
    """A device number as the kernel spells it towards this call (new_encode_dev)."""
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _open_device(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # A /dev that is not the kernel's own (in a container) gets no node for a device that was just made.
        numbers = Path(f"/sys/block/{Path(path).name}/dev").read_text().split(":")
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(int(numbers[0]), int(numbers[1])))
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
