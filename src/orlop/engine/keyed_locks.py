"""A lock for each name, made when first wanted and gone when nobody holds or awaits it."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class KeyedLocks:
    """`hold` takes several names in sorted order, so two holders can never wait for each other; whoever holds some
    must not ask for more."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # with the number of holders and waiters

    @contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[None]:
        wanted = sorted(set(keys))
        locks = self._ask_for(wanted)
        held: list[threading.Lock] = []
        try:
            for lock in locks:
                lock.acquire()
                held.append(lock)
            yield
        finally:
            for lock in reversed(held):
                lock.release()
            self._let_go(wanted)

    def _ask_for(self, keys: Sequence[str]) -> list[threading.Lock]:
        locks = []
        with self._mutex:
            for key in keys:
                lock, users = self._locks.get(key) or (threading.Lock(), 0)
                self._locks[key] = (lock, users + 1)
                locks.append(lock)
        return locks

    def _let_go(self, keys: Sequence[str]) -> None:
        with self._mutex:
            for key in keys:
                lock, users = self._locks[key]
                if users == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = (lock, users - 1)
