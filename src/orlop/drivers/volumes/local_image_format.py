"""Which file system is in the sparse file of a limited volume, and how each is made and grown.

    ext4    wherever the kernel lets this process grow one that is in use (CAP_SYS_RESOURCE), and where the number of
            files is limited, which XFS cannot do
    XFS     else: growing it asks for less

The limit is what `df` shows as the size, so the file is a little larger: journal, inode tables and bitmaps come on top.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orlop.errors import HostFailure, Unsupported
from orlop.kernel import ext4, xfs
from orlop.kernel.filesystems import FileSystemSize
from orlop.kernel.process import CAP_SYS_RESOURCE, has_capability

log = logging.getLogger(__name__)

BLOCK = 4096

_MIB = 1 << 20
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class ImageFormat(Protocol):
    @property
    def fs_type(self) -> str: ...

    @property
    def mount_options(self) -> Mapping[str, str]: ...

    def first_guess(self, size_bytes: int, inodes: int) -> int:
        """How long the file has to be for a file system of that size."""

    def make(self, fd: int, subject: str, size_bytes: int, inodes: int) -> None:
        """In the whole of the file. `inodes` 0: as many as will be needed."""

    def resize(self, top_fd: int, blocks: int) -> None: ...

    def mounted_size(self, top_fd: int) -> FileSystemSize: ...

    def stored_size(self, image_fd: int) -> FileSystemSize:
        """Raises ValueError where another one, or none, is in the file."""


class Ext4Format:
    fs_type = "ext4"
    # Blocks of deleted files go back to the disk: the loop device punches holes.
    mount_options: Mapping[str, str] = {"discard": ""}

    _GROUP = 32768 * BLOCK
    _INODE = 256
    _BYTES_A_FILE = 8192  # room for so many files that bytes run out first
    _JOURNALS = ((256 * _MIB, 4), (1 << 30, 16), (16 << 30, 64), (128 << 30, 128))  # below this size: MiB of journal
    _LARGEST_JOURNAL = 256

    def first_guess(self, size_bytes: int, inodes: int) -> int:
        groups = size_bytes // self._GROUP + 1
        tables = self._count(size_bytes, inodes) * self._INODE // BLOCK + 3 * groups
        descriptors = groups // 64 + 1 + min(size_bytes // (8 * _MIB), 1024)  # and room for those of a larger one
        blocks = tables + tables // 64 + _copies(groups) * (1 + descriptors) + 8
        return size_bytes + self._journal(size_bytes) * _MIB + blocks * BLOCK

    def make(self, fd: int, subject: str, size_bytes: int, inodes: int) -> None:
        # The file is all holes: nothing in it has to be zeroed, now or later.
        extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"
        sizes = ["-b", str(BLOCK), "-I", str(self._INODE), "-N", str(self._count(size_bytes, inodes))]
        journal = ["-J", f"size={self._journal(size_bytes)}"]
        _run(fd, subject, "mkfs.ext4", ["-q", "-F", "-m", "0", *sizes, *journal, "-e", "remount-ro", "-E", extended])

    def _count(self, size_bytes: int, inodes: int) -> int:
        return inodes + ext4.RESERVED_INODES + 1 if inodes else max(size_bytes // self._BYTES_A_FILE, 1024)

    def _journal(self, size_bytes: int) -> int:
        return next((journal for below, journal in self._JOURNALS if size_bytes < below), self._LARGEST_JOURNAL)

    def resize(self, top_fd: int, blocks: int) -> None:
        ext4.resize(top_fd, blocks)

    def mounted_size(self, top_fd: int) -> FileSystemSize:
        return _mounted_size(top_fd, ext4.RESERVED_INODES)

    def stored_size(self, image_fd: int) -> FileSystemSize:
        return ext4.parse_superblock(os.pread(image_fd, ext4.SUPERBLOCK_BYTES, ext4.SUPERBLOCK_OFFSET))


def _copies(groups: int) -> int:
    """How many groups hold the superblock and the descriptors: 0, 1 and the powers of 3, 5 and 7."""
    return 2 + sum(int(base**power) < groups for base in (3, 5, 7) for power in range(1, 24))


class XfsFormat:
    fs_type = "xfs"
    mount_options: Mapping[str, str] = {"discard": "", "nouuid": ""}  # a copy of an image has the same id

    LEAST_BYTES = 16 * _MIB
    _LOG, _SMALL_LOG = 64 * _MIB, 857 * BLOCK  # with what else it takes
    _SUPPORTED = 300 * _MIB  # below, mkfs.xfs wants to be told twice
    _FEW_GROUPS = 256 * _MIB  # one that starts small is not to end in thousands of allocation groups

    def first_guess(self, size_bytes: int, inodes: int) -> int:
        log_bytes = self._LOG if size_bytes >= self._SUPPORTED else self._SMALL_LOG
        return size_bytes + log_bytes

    def make(self, fd: int, subject: str, size_bytes: int, inodes: int) -> None:
        # What makes clones of files cheap is left out: it takes a part of every volume, however small.
        options = ["-q", "-f", "-K", "-m", "reflink=0,finobt=0,rmapbt=0,inobtcount=0", "-b", f"size={BLOCK}"]
        if size_bytes < self._FEW_GROUPS:
            options += ["-d", "agcount=1"]
        if os.fstat(fd).st_size < self._SUPPORTED:
            options.append("--unsupported")
        else:
            # By itself it would take up to two gigabytes, and write all of them at once.
            options += ["-l", f"size={self._LOG}"]
        _run(fd, subject, "mkfs.xfs", options)

    def resize(self, top_fd: int, blocks: int) -> None:
        xfs.resize(top_fd, blocks)

    def mounted_size(self, top_fd: int) -> FileSystemSize:
        return _mounted_size(top_fd, xfs.RESERVED_INODES, xfs.reserved_blocks(top_fd) * BLOCK)

    def stored_size(self, image_fd: int) -> FileSystemSize:
        return xfs.parse_superblock(os.pread(image_fd, xfs.SUPERBLOCK_BYTES, xfs.SUPERBLOCK_OFFSET))


EXT4, XFS = Ext4Format(), XfsFormat()


def choose_format(size_bytes: int, inodes: int) -> ImageFormat:
    if inodes or size_bytes < XFS.LEAST_BYTES or has_capability(CAP_SYS_RESOURCE):
        return EXT4
    return XFS if _is_known_to_the_kernel("xfs") and _find("mkfs.xfs") else EXT4


def format_of(image_fd: int, subject: str) -> ImageFormat:
    """Raises HostFailure for a file that holds neither."""
    for found in (EXT4, XFS):
        try:
            found.stored_size(image_fd)
        except ValueError:
            continue
        return found
    hint = "Restore that file from a backup"
    raise HostFailure(subject, "there is no file system in its disk.img that Orlop makes", hint)


def _mounted_size(top_fd: int, reserved_inodes: int, kept_bytes: int = 0) -> FileSystemSize:
    found = os.fstatvfs(top_fd)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return FileSystemSize(
        found.f_blocks * found.f_frsize,
        max(used - kept_bytes, 0),
        found.f_files - reserved_inodes,
        max(found.f_files - found.f_ffree - reserved_inodes, 0),
    )


def _is_known_to_the_kernel(fs_type: str) -> bool:
    return f"\t{fs_type}\n" in Path("/proc/filesystems").read_text()


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=_SBIN)


def _run(fd: int, subject: str, program: str, options: Sequence[str]) -> None:
    path = _find(program)
    if path is None:
        raise Unsupported(subject, f"on this file system a limit needs {program}, which is not installed", _INSTALL)
    command = [path, *options, f"/proc/self/fd/{fd}"]
    done = subprocess.run(command, pass_fds=[fd], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise HostFailure(subject, f"{program} failed: {said[-1] if said else done.returncode}")


_INSTALL = "Install e2fsprogs"
