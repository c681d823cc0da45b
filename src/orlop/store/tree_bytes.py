"""The bytes of one file to another: shared where the file system can (FICLONE), else copied in the kernel.

The large files of a tree have a thread of their own (`LargeFiles`): the kernel copies without the interpreter, so that
it gets on while another thread goes through the small ones. Most of the bytes are theirs, so this is also who sees to
it that the disk has not everything still to write when the whole tree is to be synced at the end.
"""

import errno
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from typing import Self

from orlop.kernel.libc import sync_file_system
from orlop.model.value import dataclass
from orlop.store.tree_entries import read_and_write

FICLONE = 0x40049409
_SMALL = 256 << 10
_CHUNK = 64 << 20
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF, errno.EPERM)

LARGE = 1 << 20
_WORTH_SYNCING = 32 << 20
_WAITING = 16  # large files, each with two descriptors

Told = Callable[[int], None]  # how many bytes more of a file were copied


class ByteCopy:
    """Remembers which ways this pair of file systems does not know."""

    def __init__(self, told: Told = lambda count: None) -> None:
        self._told = told
        self._clones = True
        self._ranges = True

    def copy(self, source: int, target: int, details: os.stat_result) -> None:
        size = details.st_size
        if self._clones and size:
            try:
                fcntl.ioctl(target, FICLONE, source)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._clones = False
        if details.st_blocks * 512 < size:
            self._copy_sparse(source, target, size)
        elif size <= _SMALL:
            read_and_write(source, target, size)
        else:
            self._copy_range(source, target, 0, size)

    def _copy_sparse(self, source: int, target: int, size: int) -> None:
        position = 0
        while position < size:
            try:
                begin = os.lseek(source, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            position = os.lseek(source, begin, os.SEEK_HOLE)
            self._copy_range(source, target, begin, position)
        os.ftruncate(target, size)

    def _copy_range(self, source: int, target: int, begin: int, end: int) -> None:
        os.lseek(target, begin, os.SEEK_SET)  # where sendfile writes
        while begin < end:
            done = self._copy_chunk(source, target, begin, min(end - begin, _CHUNK))
            if not done:
                return  # the file was cut short meanwhile
            begin += done
            self._told(done)

    def _copy_chunk(self, source: int, target: int, begin: int, count: int) -> int:
        if self._ranges:
            try:
                return os.copy_file_range(source, target, count, begin, begin)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._ranges = False
                os.lseek(target, begin, os.SEEK_SET)
        return os.sendfile(target, source, begin, count)


@dataclass(frozen=True, slots=True)
class LargeFile:
    source: int
    target: int
    details: os.stat_result
    path: str  # for messages
    settle: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Sync:
    directory: int


class LargeFiles:
    """Copies in a thread. At the end of a `with` block all of them are copied, or the first error is raised. With
    `sync_ahead` the file system is synced whenever so much has been copied that it is worth it."""

    def __init__(self, sync_ahead: bool = False) -> None:
        self._sync_ahead = sync_ahead
        self._bytes = ByteCopy()
        self._unsynced = 0
        self._queue: queue.SimpleQueue[LargeFile | _Sync | None] = queue.SimpleQueue()
        self._syncing = False
        self._room = threading.Semaphore(_WAITING)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, file: LargeFile) -> None:
        """Its descriptors are ours to close from here on."""
        self._begin()
        self._room.acquire()
        self._queue.put(file)

    def sync(self, directory: int) -> None:
        """Have the disk begin with what was copied so far, unless it is at it. Waits for nothing."""
        if self._sync_ahead and not self._syncing:
            self._begin()
            self._syncing = True
            self._queue.put(_Sync(os.dup(directory)))

    def _begin(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="large-files", daemon=True)
            thread.start()
            self._thread = thread

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if error is not None:
            self._error = self._error or error  # what still waits is only closed
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (file := self._queue.get()) is not None:
            if isinstance(file, _Sync):
                self._sync(file.directory)
                continue
            try:
                if self._error is None:
                    self._copy(file)
            except OSError as error:
                self._error = OSError(error.errno, error.strerror, error.filename or file.path)
            except BaseException as error:  # noqa: BLE001 - it is raised where the copy is waited for
                self._error = error
            finally:
                os.close(file.source)
                os.close(file.target)
                self._room.release()

    def _sync(self, directory: int) -> None:
        try:
            if self._error is None:
                sync_file_system(directory)
        except OSError as error:  # the kernel may say it only once
            self._error = error
        finally:
            os.close(directory)
            self._syncing = False

    def _copy(self, file: LargeFile) -> None:
        self._bytes.copy(file.source, file.target, file.details)
        file.settle()
        self._unsynced += file.details.st_blocks * 512
        if self._sync_ahead and self._unsynced >= _WORTH_SYNCING:
            self._unsynced = 0
            sync_file_system(file.target)
