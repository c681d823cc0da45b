"""btrfs: subvolumes and their quota groups, by ioctl (btrfs-ioctl(2)) and from /sys/fs/btrfs."""

import errno
import fcntl
import os
import struct
from pathlib import Path

from orlop.model.value import dataclass

_SUBVOL_CREATE = 0x5000940E  # _IOW(0x94, 14, struct btrfs_ioctl_vol_args)
_SNAP_DESTROY = 0x5000940F
_INO_LOOKUP = 0xD0009412
_FS_INFO = 0x8400941F
_QUOTA_CTL = 0xC0109428
_QGROUP_CREATE = 0x4010942A
_QGROUP_LIMIT = 0x8030942B
_QUOTA_ENABLE = 1
_LIMIT_REFERENCED = 1
_NO_LIMIT = 2**64 - 1
_TOP_INODE = 256  # of every subvolume
_MAGIC = 0x9123683E


@dataclass(frozen=True, slots=True)
class QuotaGroup:
    """How much a subvolume refers to, and how much it may."""

    used_bytes: int
    limit_bytes: int  # 0: no limit


def is_btrfs(file_system_type: int) -> bool:
    """`file_system_type`: f_type of statfs(2)."""
    return file_system_type == _MAGIC


def create_subvolume(directory_fd: int, name: str) -> None:
    fcntl.ioctl(directory_fd, _SUBVOL_CREATE, _volume_arguments(name))


def destroy_subvolume(directory_fd: int, name: str) -> None:
    """With everything in it, at once; the disk gets its blocks back in the background. ENOTEMPTY: another subvolume is
    in it."""
    fcntl.ioctl(directory_fd, _SNAP_DESTROY, _volume_arguments(name))


def subvolume_id(fd: int) -> int:
    """Of the subvolume that the open file or directory is in."""
    arguments = bytearray(4096)
    struct.pack_into("=QQ", arguments, 0, 0, _TOP_INODE)
    fcntl.ioctl(fd, _INO_LOOKUP, arguments)
    return int(struct.unpack_from("=Q", arguments)[0])


def is_top_inode(inode: int) -> bool:
    return inode == _TOP_INODE


def enable_quota(fd: int) -> None:
    """Where it is on already, success. The first time, the kernel counts what is there in the background."""
    try:
        fcntl.ioctl(fd, _QUOTA_CTL, bytearray(struct.pack("=QQ", _QUOTA_ENABLE, 0)))
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.EINPROGRESS):
            raise


def set_limit(fd: int, limit_bytes: int) -> None:
    """On all that the subvolume of `fd` refers to; 0 = none."""
    limit = limit_bytes or _NO_LIMIT
    arguments = struct.pack("=Q5Q", 0, _LIMIT_REFERENCED, limit, 0, 0, 0)
    fcntl.ioctl(fd, _QGROUP_LIMIT, bytearray(arguments))


def remove_quota_group(fd: int, subvolume: int) -> None:
    """Of a subvolume that was destroyed, on the file system of `fd`. A newer kernel (6.11) does so on its own once it
    has given the blocks back, and refuses until then."""
    try:
        fcntl.ioctl(fd, _QGROUP_CREATE, struct.pack("=QQ", 0, subvolume))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTCONN, errno.EINVAL):
            raise


def quota_group(fd: int) -> QuotaGroup | None:
    """Of the subvolume of `fd`, from the kernel's memory; None where none is counted."""
    folder = Path("/sys/fs/btrfs") / _file_system_id(fd) / "qgroups" / f"0_{subvolume_id(fd)}"
    try:
        used = int((folder / "referenced").read_text())
        limited = int((folder / "limit_flags").read_text(), 0) & _LIMIT_REFERENCED
        limit = int((folder / "max_referenced").read_text()) if limited else 0
    except (FileNotFoundError, ValueError):
        return None
    return QuotaGroup(used, 0 if limit == _NO_LIMIT else limit)


def _file_system_id(fd: int) -> str:
    arguments = bytearray(1024)
    fcntl.ioctl(fd, _FS_INFO, arguments)
    raw = arguments[16:32].hex()
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def _volume_arguments(name: str) -> bytearray:
    raw = os.fsencode(name)
    if len(raw) > 255 or "/" in name:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
    return bytearray(struct.pack("=q4088s", 0, raw))  # the mutable kind: of the other, fcntl takes 1024 bytes at most
