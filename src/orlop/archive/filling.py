"""The data of files: from the archive into descriptors, and for a layer's large files before their turn has come.

A layer's small files cost calls, its large ones disk. While the calls are made, a thread copies the large files that
are still to come into nameless files (O_TMPFILE) and lets the disk begin on them; when such a member's turn comes it
only gets its name. The copying is done by the kernel, without Python's lock.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore
from types import TracebackType
from typing import Self

from orlop.archive.member import Member, MemberKind
from orlop.archive.reader import KERNEL_COPY_BYTES, ArchiveReader, TarReader
from orlop.kernel.filesystems import begin_writeback

_MEMBERS_AHEAD = 30_000
_FILES_AHEAD = 64  # nameless files: a descriptor each


def fill(archive: ArchiveReader, fd: int, member: Member) -> None:
    """Write a file's data, leaving holes where it has them."""
    if member.segments is None:
        archive.copy_into(fd, member.data_offset, member.stored_bytes)
        return
    at = member.data_offset
    for segment in member.segments:
        os.lseek(fd, segment.offset, os.SEEK_SET)
        archive.copy_into(fd, at, segment.length)
        at += segment.length
    os.ftruncate(fd, member.size_bytes)


class FilledAhead:
    """The members of an archive in order; of those that are large files, `take` has the filled descriptor."""

    def __init__(self, archive: TarReader, root_fd: int) -> None:
        self._archive = archive
        self._root_fd = root_fd
        self._thread = ThreadPoolExecutor(1, "fill")
        self._room = BoundedSemaphore(_FILES_AHEAD)
        self._filling: dict[int, Future[int]] = {}  # by where the data is
        self._stopped = False

    def members(self) -> Iterator[Member]:
        return _looking_ahead(self._archive, self._begin)

    def take(self, member: Member) -> int | None:
        """A nameless file that holds the member's data, the caller's to close; None where there is none."""
        future = self._filling.pop(member.data_offset, None)
        if future is None:
            return None
        try:
            fd = future.result()
        finally:
            self._room.release()
        return fd if fd >= 0 else None

    def pass_over(self, member: Member) -> None:
        """The member's turn has come and gone: its file, if nobody took it (a whiteout has no data), is let go."""
        if member.data_offset in self._filling:
            fd = self.take(member)
            if fd is not None:
                os.close(fd)

    def _begin(self, member: Member) -> None:
        large = member.kind is MemberKind.FILE and member.stored_bytes >= KERNEL_COPY_BYTES
        if large and member.segments is None:
            self._filling[member.data_offset] = self._thread.submit(self._fill, member)

    def _fill(self, member: Member) -> int:
        self._room.acquire()
        if self._stopped:
            return -1
        try:
            fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._root_fd)
        except OSError:
            return -1  # not every file system has nameless files; then it is filled when its turn comes
        try:
            fill(self._archive, fd, member)
            begin_writeback(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped = True
        left = list(self._filling)
        for offset in left:
            future = self._filling.pop(offset)
            if not future.cancel():
                with suppress(OSError):
                    fd = future.result()
                    if fd >= 0:
                        os.close(fd)
                self._room.release()
        self._thread.shutdown()


def _looking_ahead(members: Iterable[Member], begin: Callable[[Member], None]) -> Iterator[Member]:
    waiting: deque[Member] = deque()
    for member in members:
        begin(member)
        waiting.append(member)
        if len(waiting) > _MEMBERS_AHEAD:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
