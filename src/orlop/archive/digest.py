"""SHA-256 of a stream, computed on a thread of its own.

Hashing frees the interpreter's lock, so it runs beside the thread that reads or unpacks the same bytes. The queue is
short: a slow hash holds the reader back instead of filling memory.
"""

import hashlib
from queue import SimpleQueue
from threading import BoundedSemaphore, Event, Thread
from types import TracebackType
from typing import Self

_AHEAD = 8
_PIECE_BYTES = 4 << 20


class Sha256Thread:
    """`update` may return before its bytes are hashed, so a buffer handed over must not change afterwards."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._queue: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._room = BoundedSemaphore(_AHEAD)
        self._thread = Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def update(self, data: bytes | memoryview) -> None:
        self._room.acquire()
        self._queue.put(data)

    def digest(self) -> str:
        """ "sha256:<hex>" of everything handed over. Call it once; the thread ends."""
        self.close()
        return f"sha256:{self._sha256.hexdigest()}"

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            self._sha256.update(data)
            del data  # a memoryview kept here would keep its mmap from being closed
            self._room.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class ViewSha256:
    """The digest of a mapped file, computed on a thread while others read it too. Leaving early stops the thread."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._sha256 = hashlib.sha256()
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def result(self) -> str:
        self._thread.join()
        return f"sha256:{self._sha256.hexdigest()}"

    def _run(self) -> None:
        for start in range(0, len(self._view), _PIECE_BYTES):
            if self._stopped.is_set():
                return
            with self._view[start : start + _PIECE_BYTES] as piece:
                self._sha256.update(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        self._view.release()
