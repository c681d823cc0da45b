"""XFS: growing one that is mounted, and what the superblock of one that is not says about it."""

import fcntl
import struct

from orlop.kernel.filesystems import FileSystemSize

_GROW = 0x4010586E  # XFS_IOC_FSGROWFSDATA, _IOW('X', 110, struct xfs_growfs_data)
_GET_RESERVED = 0x80105873  # XFS_IOC_GET_RESBLKS, _IOR('X', 115, struct xfs_fsop_resblks)
_MOST_INODES_PERCENT = 25  # what mkfs.xfs takes
_MAGIC = b"XFSB"
SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES = 0, 512
RESERVED_INODES = 3  # the root directory, and two for the realtime part that every XFS has


def resize(directory_fd: int, blocks: int) -> None:
    """Make the mounted file system as large as that; crash-safe, by the kernel. Raises OSError."""
    fcntl.ioctl(directory_fd, _GROW, struct.pack("=QI4x", blocks, _MOST_INODES_PERCENT))


def reserved_blocks(directory_fd: int) -> int:
    """What the mounted file system keeps for itself, and statfs(2) counts as used."""
    answer = fcntl.ioctl(directory_fd, _GET_RESERVED, bytes(16))
    return int(struct.unpack("=QQ", answer)[1])


def total_blocks(raw: bytes) -> tuple[int, int]:
    """How many blocks of its device the file system takes, and their size. Raises ValueError for other bytes."""
    if len(raw) < SUPERBLOCK_BYTES or raw[:4] != _MAGIC:
        raise ValueError("no XFS superblock")
    block, blocks = struct.unpack_from(">IQ", raw, 4)
    return int(blocks), int(block)


def parse_superblock(raw: bytes) -> FileSystemSize:
    """Of a file system that is not mounted (while it is, the counts in it are old). Raises ValueError for other bytes.

    Offsets as in the XFS Algorithms & Data Structures document, "Superblocks".
    """
    if len(raw) < SUPERBLOCK_BYTES or raw[:4] != _MAGIC:
        raise ValueError("no XFS superblock")
    block, data_blocks = struct.unpack_from(">IQ", raw, 4)
    (log_blocks,) = struct.unpack_from(">I", raw, 96)
    inodes, free_inodes, free_blocks = struct.unpack_from(">QQQ", raw, 128)
    usable = data_blocks - log_blocks
    return FileSystemSize(
        usable * block,
        max(usable - free_blocks, 0) * block,
        max(inodes - RESERVED_INODES, 0),
        max(inodes - free_inodes - RESERVED_INODES, 0),
    )
