"""The sparse file that a limited volume is kept in: made, opened, mounted where nobody sees it, grown."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from orlop.drivers.volumes.local_image_format import BLOCK, EXT4, choose_format, format_of
from orlop.errors import HostFailure, Malformed, Unsupported
from orlop.kernel import ext4
from orlop.kernel.detached_mount import mount_detached
from orlop.kernel.filesystems import FileSystemSize, filesystem_name, never_copy_on_write
from orlop.kernel.loop import loop_device, set_capacity
from orlop.kernel.mounts import MOUNT_ATTR_RDONLY
from orlop.model.sizes import describe_size

LEAST_BYTES = 4 << 20  # below this the journal would be larger than what it is for

_MIB = 1 << 20
_ROUNDS = 8


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
    wanted = choose_format(size_bytes, inodes)
    total, more, short_before = wanted.first_guess(size_bytes, inodes), 0, 0
    for _ in range(_ROUNDS):
        with _new_file(directory_fd, name) as fd:
            _set_length(fd, subject, total)
            wanted.make(fd, subject, size_bytes, inodes)
            short = _dress(fd, subject, size_bytes, inodes, finish)
            if short <= 0:
                os.fsync(fd)
                return
        # A last piece that is too small for tables of its own is left out: then a round brings nothing.
        more = (2 * more or _MIB) if short == short_before else 0
        total, short_before = total + short + more, short
    raise HostFailure(subject, f"mkfs.{wanted.fs_type} made no file system of {describe_size(size_bytes)}")


@contextmanager
def _new_file(directory_fd: int, name: str) -> Iterator[int]:
    """Another one each time: a device of the one before may still be there, because somebody looks at it, and would
    show what was in that."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    try:
        if filesystem_name(fd) == "btrfs":
            never_copy_on_write(fd)
        yield fd
    finally:
        os.close(fd)


def _dress(fd: int, subject: str, size_bytes: int, inodes: int, finish: Callable[[int], None]) -> int:
    """Empty its top directory and check it; how many bytes it is too small."""
    with mounted_nowhere(fd, subject) as top_fd:
        found = os.fstatvfs(top_fd)
        short = size_bytes - found.f_blocks * found.f_frsize
        if short > 0:
            return short
        # An application that wants an empty directory (PostgreSQL) would refuse; e2fsck makes it again if it needs it.
        with suppress(FileNotFoundError):
            os.rmdir("lost+found", dir_fd=top_fd)
        finish(top_fd)
        least = found.f_files - ext4.RESERVED_INODES - 1
        if inodes and least > inodes + inodes // 8 + 64:
            why = f"a file system of {describe_size(size_bytes)} has at least {least} inodes"
            raise Unsupported(subject, why, f"Ask for inodes={least}, or for a smaller size")
    return 0


def _set_length(fd: int, subject: str, total: int) -> None:
    """All of it holes."""
    try:
        os.ftruncate(fd, -(-total // BLOCK) * BLOCK)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL):
            raise
        raise Unsupported(subject, f"a file of {describe_size(total)} is too large for this file system") from error


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
def attached_image(image_fd: int, subject: str) -> Iterator[tuple[int, str]]:
    """Its loop device, open, and the path of that."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(loop_device(image_fd))
        except OSError as error:
            why = f"its disk.img gets no loop device: {error.strerror or error}"
            hint = "Is there a /dev/loop-control? If not: modprobe loop; in a container, hand it in"
            raise HostFailure(subject, why, hint) from error
        yield found


@contextmanager
def mounted_nowhere(image_fd: int, subject: str, read_only: bool = False) -> Iterator[int]:
    """The top directory of the file system in the image, for us alone; the same file system where it is mounted."""
    with attached_image(image_fd, subject) as (_, device):
        tree_fd = mount_image(image_fd, device, subject, read_only)
        try:
            top_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree_fd)
            try:
                yield top_fd
            finally:
                os.close(top_fd)
        finally:
            os.close(tree_fd)


def mount_image(image_fd: int, device: str, subject: str, read_only: bool = False) -> int:
    found = format_of(image_fd, subject)
    try:
        return mount_detached(found.fs_type, device, found.mount_options, MOUNT_ATTR_RDONLY if read_only else 0)
    except OSError as error:
        mending = "e2fsck -f" if found is EXT4 else "xfs_repair"
        hint = f"Look at the kernel's log (dmesg); a damaged file system is mended by {mending} on that file"
        raise HostFailure(
            subject, f"the file system in its disk.img cannot be mounted: {error.strerror}", hint
        ) from error


def grow_image(image_fd: int, subject: str, size_bytes: int) -> None:
    """Whether or not it is in use, and safe against a crash at any point: the kernel does it through its journal.
    Raises PermissionError where this process may not (CAP_SYS_RESOURCE)."""
    with attached_image(image_fd, subject) as (loop_fd, device):
        tree_fd = mount_image(image_fd, device, subject)
        try:
            top_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree_fd)
            try:
                _grow(image_fd, loop_fd, top_fd, subject, size_bytes)
            finally:
                os.close(top_fd)
        finally:
            os.close(tree_fd)


def _grow(image_fd: int, loop_fd: int, top_fd: int, subject: str, size_bytes: int) -> None:
    grown = format_of(image_fd, subject)
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
        grown.resize(top_fd, os.fstat(image_fd).st_size // BLOCK)
        # A last piece that is too small for tables of its own is left out, so each round asks for some more.
        more = (2 * more or _MIB) if os.fstatvfs(top_fd).f_blocks == found.f_blocks else 0
    raise HostFailure(subject, "the file system did not grow as far as it was asked to")


def image_size(image_fd: int, top_fd: int | None = None) -> FileSystemSize:
    """Of the file system in an image, by its top directory where it is mounted. Raises HostFailure for a file that
    holds none."""
    found = format_of(image_fd, "reading disk.img")
    return found.stored_size(image_fd) if top_fd is None else found.mounted_size(top_fd)
