"""A lock for each name, made when first wanted and gone when nobody holds or awaits it."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager


class KeyedLocks:
    """`hold` takes several names in sorted order, so two holders can never wait for each other; whoever holds some
    must not ask for more."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # with the number of holders and waiters

    @contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[None]:
        with ExitStack() as held:
            for key in sorted(set(keys)):
                held.enter_context(self._hold_one(key))
            yield

    @contextmanager
    def _hold_one(self, key: str) -> Iterator[None]:
        with self._mutex:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._mutex:
                lock, users = self._locks[key]
                if users == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = (lock, users - 1)
