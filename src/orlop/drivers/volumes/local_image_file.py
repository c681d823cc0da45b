"""The sparse file that a limited volume is kept in: made, opened, mounted where nobody sees it, grown.

The limit is what `df` shows as the size, so the file is a little larger: journal, inode tables and bitmaps come on top.
"""

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orlop.errors import HostFailure, Malformed, Unsupported
from orlop.kernel import ext4
from orlop.kernel.detached_mount import mount_detached
from orlop.kernel.filesystems import filesystem_name, never_copy_on_write
from orlop.kernel.loop import loop_device, set_capacity
from orlop.kernel.mounts import MOUNT_ATTR_RDONLY
from orlop.model.sizes import describe_size

LEAST_BYTES = 4 << 20  # below this the journal would be larger than what it is for
BLOCK = 4096
# Blocks of deleted files go back to the disk: the loop device punches holes.
MOUNT_OPTIONS = {"discard": ""}

_MIB = 1 << 20
_GROUP = 32768 * BLOCK
_INODE = 256
_BYTES_A_FILE = 8192  # room for so many files that bytes run out first
_JOURNALS = ((256 * _MIB, 4), (1 << 30, 16), (16 << 30, 64), (128 << 30, 128))  # below this size: MiB of journal
_LARGEST_JOURNAL = 256
_ROUNDS = 8
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def make_image(
    directory_fd: int, name: str, subject: str, size_bytes: int, inodes: int, finish: Callable[[int], None]
) -> None:
    """A file with an empty file system of that size in it; `finish` gets its top directory. The caller removes what is
    there when this fails."""
    if not size_bytes:
        hint = "Give it a size as well: size=10g"
        raise Unsupported(subject, "without project quota, inodes alone cannot be limited", hint)
    if size_bytes < LEAST_BYTES:
        why = f"size is {describe_size(size_bytes)}, and at least {describe_size(LEAST_BYTES)} are needed here"
        raise Malformed(subject, why)
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    try:
        if filesystem_name(fd) == "btrfs":
            never_copy_on_write(fd)
        count = inodes + ext4.RESERVED_INODES + 1 if inodes else max(size_bytes // _BYTES_A_FILE, 1024)
        total = size_bytes + _overhead(size_bytes, count)
        for _ in range(_ROUNDS):
            _make_file_system(fd, subject, total, count, _journal(size_bytes))
            short = _dress(fd, subject, size_bytes, inodes, finish)
            if short <= 0:
                os.fsync(fd)
                return
            total += short + _MIB
    finally:
        os.close(fd)
    raise HostFailure(subject, f"mkfs.ext4 made no file system of {describe_size(size_bytes)}")


def _dress(fd: int, subject: str, size_bytes: int, inodes: int, finish: Callable[[int], None]) -> int:
    """Empty its top directory and check it; how many bytes it is too small."""
    with mounted_nowhere(fd, subject) as top_fd:
        found = os.fstatvfs(top_fd)
        short = size_bytes - found.f_blocks * found.f_frsize
        if short > 0:
            return short
        # An application that wants an empty directory (PostgreSQL) would refuse; e2fsck makes it again if it needs it.
        os.rmdir("lost+found", dir_fd=top_fd)
        finish(top_fd)
        least = found.f_files - ext4.RESERVED_INODES - 1
        if inodes and least > inodes + inodes // 8 + 64:
            why = f"a file system of {describe_size(size_bytes)} has at least {least} inodes"
            raise Unsupported(subject, why, f"Ask for inodes={least}, or for a smaller size")
    return 0


def _make_file_system(fd: int, subject: str, total: int, inodes: int, journal: int) -> None:
    try:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, -(-total // BLOCK) * BLOCK)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL):
            raise
        raise Unsupported(subject, f"a file of {describe_size(total)} is too large for this file system") from error
    program = shutil.which("mkfs.ext4") or shutil.which("mkfs.ext4", path=_SBIN)
    if program is None:
        why = "on this file system a limit needs mkfs.ext4, which is not installed"
        raise Unsupported(subject, why, "Install e2fsprogs")
    # The file is all holes: nothing in it has to be zeroed, now or later.
    extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"
    options = ["-q", "-F", "-m", "0", "-b", str(BLOCK), "-I", str(_INODE), "-N", str(inodes), "-J", f"size={journal}"]
    command = [program, *options, "-e", "remount-ro", "-E", extended, f"/proc/self/fd/{fd}"]
    done = subprocess.run(command, pass_fds=[fd], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise HostFailure(subject, f"mkfs.ext4 failed: {said[-1] if said else done.returncode}")


def _overhead(size_bytes: int, inodes: int) -> int:
    """A first guess; what is missing is added."""
    groups = size_bytes // _GROUP + 1
    return _journal(size_bytes) * _MIB + inodes * _INODE + groups * 4 * BLOCK + 32 * BLOCK


def _journal(size_bytes: int) -> int:
    return next((journal for below, journal in _JOURNALS if size_bytes < below), _LARGEST_JOURNAL)


@contextmanager
def opened_image(directory_fd: int, name: str, subject: str) -> Iterator[int]:
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise HostFailure(subject, f"its {name} is no file")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def mounted_nowhere(image_fd: int, subject: str, read_only: bool = False) -> Iterator[int]:
    """The top directory of the file system in the image, for us alone; the same file system where it is mounted."""
    with loop_device(image_fd) as (_, device):
        tree_fd = mount_image(device, subject, read_only)
        try:
            top_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree_fd)
            try:
                yield top_fd
            finally:
                os.close(top_fd)
        finally:
            os.close(tree_fd)


def mount_image(device: str, subject: str, read_only: bool = False) -> int:
    try:
        return mount_detached("ext4", device, MOUNT_OPTIONS, MOUNT_ATTR_RDONLY if read_only else 0)
    except OSError as error:
        hint = "Look at the kernel's log (dmesg); a damaged file system is mended by e2fsck -f on that file"
        raise HostFailure(
            subject, f"the file system in its disk.img cannot be mounted: {error.strerror}", hint
        ) from error


def grow_image(image_fd: int, subject: str, size_bytes: int) -> None:
    """Whether or not it is in use, and safe against a crash at any point: the kernel does it through its journal.
    Raises PermissionError where this process may not (CAP_SYS_RESOURCE)."""
    with loop_device(image_fd) as (loop_fd, device):
        tree_fd = mount_image(device, subject)
        try:
            top_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree_fd)
            try:
                _grow(image_fd, loop_fd, top_fd, subject, size_bytes)
            finally:
                os.close(top_fd)
        finally:
            os.close(tree_fd)


def _grow(image_fd: int, loop_fd: int, top_fd: int, subject: str, size_bytes: int) -> None:
    more = 0
    for _ in range(_ROUNDS):
        found = os.fstatvfs(top_fd)
        short = size_bytes - found.f_blocks * found.f_frsize
        if short <= 0:
            return
        room = os.fstatvfs(image_fd)
        # The inode tables and bitmaps of what comes on top. Without room for them the file system would stop.
        if room.f_bavail * room.f_frsize < short // 64 + 16 * _MIB:
            raise HostFailure(subject, "the disk is full", "Free some space on that disk and try again")
        total = os.fstat(image_fd).st_size + short + more
        # Where one of these fails, the file stays too large: the file system does not know, and holes take no room.
        os.ftruncate(image_fd, -(-total // BLOCK) * BLOCK)
        set_capacity(loop_fd)
        ext4.resize(top_fd, os.fstat(image_fd).st_size // BLOCK)
        # A last piece that is too small for tables of its own is left out, so each round asks for some more.
        more = (2 * more or _MIB) if os.fstatvfs(top_fd).f_blocks == found.f_blocks else 0
    raise HostFailure(subject, "the file system did not grow as far as it was asked to")


def stored_size(image_fd: int) -> ext4.Ext4Size:
    """Of an image that is not mounted. Raises HostFailure for a file that holds no ext4."""
    try:
        return ext4.parse_superblock(os.pread(image_fd, ext4.SUPERBLOCK_BYTES, ext4.SUPERBLOCK_OFFSET))
    except ValueError as error:
        raise HostFailure("reading disk.img", str(error)) from error
