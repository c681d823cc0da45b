"""Project quota of ext4 and XFS: each directory tree may have a number, and what belongs to a number is counted and
limited (FS_IOC_FSSETXATTR, quotactl_fd(2)).

The interface is narrow so that what is built on it can be tried against a fake, for many kernels have no quota.
"""

import ctypes
import errno
import fcntl
import os
import struct
from typing import Protocol

from orlop.kernel.libc import LIBC, check
from orlop.model.value import dataclass

_SYS_QUOTACTL_FD = 443  # Linux 5.14
_GET_XATTR = 0x801C581F  # FS_IOC_FSGETXATTR, _IOR('X', 31, struct fsxattr)
_SET_XATTR = 0x401C5820  # FS_IOC_FSSETXATTR
_XATTR = "=5I8x"  # flags, extent size, extents, project, copy-on-write extent size
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT: what is made in the directory gets its number
_PROJECT_QUOTA = 2
_GET_QUOTA, _SET_QUOTA = 0x800007, 0x800008
_LIMITS = 1 | 4  # QIF_BLIMITS, QIF_ILIMITS
_BLOCK = 1024  # the unit of dqb_bhardlimit (quotactl(2)), whatever the file system's own


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    used_bytes: int
    used_inodes: int
    limit_bytes: int  # 0: no limit
    limit_inodes: int


class ProjectQuota(Protocol):
    """What the kernel can be asked. Every call raises OSError as the kernel does."""

    def is_enforced(self, fd: int) -> bool:
        """Whether the file system of `fd` counts and limits projects. Quick, and never an error."""

    def project(self, fd: int) -> int:
        """The number of a file or directory; 0 = none."""

    def assign(self, fd: int, project: int) -> None:
        """Give it that number; a directory hands it on to what is made in it from now on."""

    def usage(self, fd: int, project: int) -> ProjectUsage: ...

    def limit(self, fd: int, project: int, limit_bytes: int, limit_inodes: int) -> None:
        """Hard limits; 0 = none."""


class _Record(ctypes.Structure):
    """struct if_dqblk."""

    _fields_ = [
        ("hard_blocks", ctypes.c_uint64),
        ("soft_blocks", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("hard_inodes", ctypes.c_uint64),
        ("soft_inodes", ctypes.c_uint64),
        ("used_inodes", ctypes.c_uint64),
        ("block_time", ctypes.c_uint64),
        ("inode_time", ctypes.c_uint64),
        ("valid", ctypes.c_uint32),
    ]


class KernelProjectQuota:
    def is_enforced(self, fd: int) -> bool:
        try:
            self.project(fd)
            self.usage(fd, 0)
        except OSError:
            return False
        return True

    def project(self, fd: int) -> int:
        return int(struct.unpack(_XATTR, _attributes(fd))[3])

    def assign(self, fd: int, project: int) -> None:
        flags, extent, extents, _, cow_extent = struct.unpack(_XATTR, _attributes(fd))
        if os.fstat(fd).st_mode & 0o170000 == 0o040000:
            flags |= _INHERIT
        fcntl.ioctl(fd, _SET_XATTR, struct.pack(_XATTR, flags, extent, extents, project, cow_extent))

    def usage(self, fd: int, project: int) -> ProjectUsage:
        record = _Record()
        try:
            _quotactl(fd, _GET_QUOTA, project, record)
        except OSError as error:
            if error.errno != errno.ENOENT:  # XFS: nobody ever had this number
                raise
        return ProjectUsage(record.used_bytes, record.used_inodes, record.hard_blocks * _BLOCK, record.hard_inodes)

    def limit(self, fd: int, project: int, limit_bytes: int, limit_inodes: int) -> None:
        blocks = -(-limit_bytes // _BLOCK)
        record = _Record(hard_blocks=blocks, soft_blocks=blocks, hard_inodes=limit_inodes, soft_inodes=limit_inodes)
        record.valid = _LIMITS
        _quotactl(fd, _SET_QUOTA, project, record)


def _attributes(fd: int) -> bytes:
    return fcntl.ioctl(fd, _GET_XATTR, bytes(struct.calcsize(_XATTR)))


def _quotactl(fd: int, command: int, project: int, record: _Record) -> None:
    encoded = command << 8 | _PROJECT_QUOTA
    check(
        LIBC.syscall(_SYS_QUOTACTL_FD, fd, encoded, project, ctypes.byref(record)), "quotactl_fd", f"project {project}"
    )
