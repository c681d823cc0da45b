"""Writing to the disk while more arrives, so that at the end of a pass little is left to be written: those who stand
still meanwhile wait for that."""

import os
import threading

from orlop.kernel.filesystems import syncfs

_WORTH_SYNCING = 64 << 20


class SyncAhead:
    """Syncs the file system in a thread whenever so much was written to it that it is worth it. What the disk said to
    that is raised by `sync`: the kernel says it once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unsynced = 0
        self._is_worth_it = threading.Event()
        self._has_ended = False
        self._syncing = threading.Lock()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def end(self) -> None:
        """What is under way may go on for as long as it takes; nobody waits for it."""
        self._has_ended = True
        self._is_worth_it.set()

    def wrote(self, count: int) -> None:
        self._unsynced += count
        if self._unsynced < _WORTH_SYNCING:
            return
        self._unsynced = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(os.dup(self._fd),), name="sync ahead", daemon=True)
            self._thread.start()
        self._is_worth_it.set()

    def sync(self) -> None:
        """All of it. Raises OSError."""
        self._unsynced = 0
        with self._syncing:
            syncfs(self._fd)
            if self._error is not None:
                raise OSError(self._error.errno, self._error.strerror)

    def _run(self, fd: int) -> None:
        try:
            while not self._has_ended:
                self._is_worth_it.wait()
                self._is_worth_it.clear()
                with self._syncing:
                    if not self._has_ended:
                        self._sync(fd)
        finally:
            os.close(fd)

    def _sync(self, fd: int) -> None:
        try:
            syncfs(fd)
        except OSError as error:
            self._error = error
