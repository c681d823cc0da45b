"""The bytes of files, as the two sides of a mirror read them: block by block, each with its digest.

The digest of a file is that of its bytes, or of its blocks' digests where it has more than one block: so a hole of a
terabyte costs next to nothing, and a block that is as it was need not be sent again.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from orlop.kernel.holes import data_within
from orlop.store.mirror_words import BLOCK

_ZEROS = bytes(BLOCK)
_DIGEST_BYTES = 32
ZERO = hashlib.sha256(_ZEROS).digest()  # of a whole block that is a hole
STRETCH = 64  # blocks whose digests are kept together


class Sum:
    """The digest of a file, from those of its blocks in their order."""

    def __init__(self) -> None:
        self._first = hashlib.sha256(b"").digest()
        self._whole = hashlib.sha256()
        self._count = 0

    def add(self, digest: bytes) -> None:
        if not self._count:
            self._first = digest
        self._count += 1
        self._whole.update(digest)

    def add_holes(self, count: int) -> None:
        while count:
            together = min(count, 4096)
            if not self._count:
                self._first = ZERO
            self._count += together
            self._whole.update(ZERO * together)
            count -= together

    def digest(self) -> bytes:
        return self._whole.digest() if self._count > 1 else self._first


def digest_of(data: "bytes | memoryview") -> bytes:
    """Of the bytes of a block, or of a file of no more than one."""
    return hashlib.sha256(data).digest()


def open_regular(directory_fd: int, name: str | bytes) -> int:
    """To read it. In a tree that others write to, a device may have taken the file's place, and some do things when
    they are opened. So what is there is looked at before it is opened, and it is that which is opened. Raises
    OSError(ESTALE) for anything but a regular file."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.ESTALE, "changed while it was copied", os.fsdecode(name))
        return reopen(place)
    finally:
        os.close(place)


def reopen(place: int) -> int:
    """A place (O_PATH) to read, its time of access left as it is where that is allowed."""
    path = f"/proc/self/fd/{place}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def fill(fd: int, view: memoryview, offset: int) -> int:
    """As much as there is of it; fewer bytes only at the end of the file."""
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done


def blocks_with_data(fd: int, details: os.stat_result) -> Iterator[int]:
    """Numbers of those blocks that are no mere holes, in their order."""
    size = details.st_size
    if details.st_blocks * 512 >= size:
        yield from range(-(-size // BLOCK))
        return
    done = 0  # all blocks before this one have been told
    for begin, end in data_within(fd, 0, size):
        first, last = max(begin // BLOCK, done), -(-end // BLOCK)
        yield from range(first, last)
        done = max(done, last)


def digest_of_file(fd: int, details: os.stat_result, buffer: memoryview) -> Iterator[int | bytes]:
    """How many bytes more were read, from time to time; last, the digest."""
    total = Sum()
    size = details.st_size
    whole = size // BLOCK  # blocks that are full
    number = 0
    for block in blocks_with_data(fd, details):
        total.add_holes(block - number)
        wanted = min(BLOCK, size - block * BLOCK)
        count = fill(fd, buffer[:wanted], block * BLOCK)
        total.add(digest_of(buffer[:count]))
        number = block + 1
        yield count
    if number < -(-size // BLOCK):
        total.add_holes(whole - number)
        if size % BLOCK:
            total.add(digest_of(memoryview(_ZEROS)[: size % BLOCK]))
    yield total.digest()
