"""Wait for the end of many processes with one sleeping thread."""

import logging
import os
import select
import threading
from collections.abc import Callable

from orlop.kernel.process import open_pidfd

log = logging.getLogger(__name__)

Ended = Callable[[], None]


class Watcher:
    """Calls back when a process has ended. Each call gets a thread of its own, so that one that waits for a lock holds
    up nobody else's news. The thread ends with the last of the processes."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Ended] = {}
        self._thread: threading.Thread | None = None

    def watch(self, pid: int, started: int, ended: Ended) -> None:
        """`started` as in orlop.kernel.process.start_ticks. A process that is gone already has ended."""
        try:
            fd = open_pidfd(pid, started)
        except ProcessLookupError:
            _call(ended)
            return
        with self._lock:
            self._callbacks[fd] = ended
            self._epoll.register(fd, select.EPOLLIN)
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="exits", daemon=True)
                self._thread.start()

    def _wait(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                with self._lock:
                    self._epoll.unregister(fd)
                    ended = self._callbacks.pop(fd)
                os.close(fd)
                _call(ended)
            with self._lock:
                if not self._callbacks:
                    self._thread = None
                    return


def _call(ended: Ended) -> None:
    threading.Thread(target=_guarded, args=(ended,), name="exit", daemon=True).start()


def _guarded(ended: Ended) -> None:
    try:
        ended()
    except Exception:  # a defect of the listener must not pass unseen: nothing else sees this thread
        log.exception("telling of an exit")
