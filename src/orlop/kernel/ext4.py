"""ext4: growing one that is mounted, and what the superblock of one that is not says about it."""

import fcntl
import struct

from orlop.kernel.filesystems import FileSystemSize

_RESIZE_FS = 0x40086610  # EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64)
SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES = 1024, 1024
_MAGIC = 0xEF53
RESERVED_INODES = 10  # 1 to 10, the root directory among them


def resize(directory_fd: int, blocks: int) -> None:
    """Make the mounted file system as large as that; crash-safe, by the kernel. Raises OSError: EPERM without
    CAP_SYS_RESOURCE."""
    fcntl.ioctl(directory_fd, _RESIZE_FS, struct.pack("=Q", blocks))


def total_bytes(raw: bytes) -> int:
    """How much of its device the file system takes. Raises ValueError for other bytes."""
    if len(raw) < SUPERBLOCK_BYTES or struct.unpack_from("<H", raw, 0x38)[0] != _MAGIC:
        raise ValueError("no ext4 superblock")
    low, log_block, incompatible, high = (struct.unpack_from("<I", raw, at)[0] for at in (0x4, 0x18, 0x60, 0x150))
    return int(low | (high << 32 if incompatible & 0x80 else 0)) * int(1024 << log_block)


def parse_superblock(raw: bytes) -> FileSystemSize:
    """Of a file system that is not mounted (while it is, the counts in it are old). Raises ValueError for other bytes.

    Offsets as in Documentation/filesystems/ext4/super.rst.
    """

    def number(offset: int) -> int:
        return int(struct.unpack_from("<I", raw, offset)[0])

    if len(raw) < SUPERBLOCK_BYTES or struct.unpack_from("<H", raw, 0x38)[0] != _MAGIC:
        raise ValueError("no ext4 superblock")
    is_64bit = bool(number(0x60) & 0x80)
    block = 1024 << number(0x18)
    blocks = number(0x4) | (number(0x150) << 32 if is_64bit else 0)
    free = number(0xC) | (number(0x158) << 32 if is_64bit else 0)
    overhead = number(0x248)
    inodes, free_inodes = number(0x0), number(0x10)
    return FileSystemSize(
        (blocks - overhead) * block,
        max(blocks - overhead - free, 0) * block,
        inodes - RESERVED_INODES,
        max(inodes - free_inodes - RESERVED_INODES, 0),
    )
