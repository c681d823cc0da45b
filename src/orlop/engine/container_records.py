"""The containers the daemon knows: found by id, prefix or name, changed under their own lock, waited for.

Records live in memory and are written through to the journal. A state that can be derived again after a crash (an
exit, which the supervisor recorded) is written without waiting for the disk; everything else is durable on return.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from orlop.errors import Conflict, Malformed, NoSuchContainer
from orlop.model.container import Container
from orlop.model.names import is_id_prefix
from orlop.model.value import dataclass
from orlop.store.journal import Journal, Put


@dataclass(frozen=True, slots=True)
class WaitResult:
    exit_code: int
    error: str = ""


class ContainerRecords:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._guard = threading.Lock()
        self._containers = journal.load("containers", Container)
        self._names = {container.name: container.id for container in self._containers.values()}
        self._locks: dict[str, threading.RLock] = {}
        self._waiters: dict[str, list[tuple[str, Future[WaitResult]]]] = {}

    def all(self) -> list[Container]:
        with self._guard:
            return list(self._containers.values())

    def get(self, container_id: str) -> Container | None:
        return self._containers.get(container_id)

    def find(self, reference: str) -> Container:
        """By id, name (a leading slash is allowed) or unique id prefix, in this order, as Docker does."""
        with self._guard:
            container = self._containers.get(reference)
            if container is None:
                container = self._containers.get(self._names.get(reference.removeprefix("/"), ""))
            if container is not None:
                return container
            matches = (
                [item for item in self._containers if item.startswith(reference)] if is_id_prefix(reference) else []
            )
            if len(matches) > 1:
                raise Malformed("", f"Multiple IDs found with provided prefix: {reference}", "Give more of the id")
            if not matches:
                raise NoSuchContainer(reference)
            return self._containers[matches[0]]

    @contextmanager
    def locked(self, reference: str) -> Iterator[Container]:
        """The container as it is now, while nobody else changes it."""
        container_id = self.find(reference).id
        with self._guard:
            lock = self._locks.setdefault(container_id, threading.RLock())
        with lock:
            container = self.get(container_id)
            if container is None:  # removed while we waited
                raise NoSuchContainer(reference)
            yield container

    # Names

    def reserved_name(self, container_id: str) -> str:
        """Of a container that is just being made; "" when it has none."""
        with self._guard:
            return next((name for name, holder in self._names.items() if holder == container_id), "")

    def reserve_name(self, name: str, container_id: str) -> None:
        with self._guard:
            holder = self._names.setdefault(name, container_id)
        if holder != container_id:
            raise Conflict(
                "",
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                "You have to remove (or rename) that container to be able to reuse that name.",
            )

    def is_name_taken(self, name: str) -> bool:
        return name in self._names

    def free_name(self, name: str, container_id: str) -> None:
        with self._guard:
            if self._names.get(name) == container_id:
                del self._names[name]

    # Changes

    def remember(self, container: Container) -> Put:
        """In memory at once; the change for the journal is the caller's to commit."""
        with self._guard:
            self._containers[container.id] = container
        return Put("containers", container.id, container)

    def save(self, container: Container) -> None:
        self._journal.commit(self.remember(container))

    def save_later(self, container: Container) -> None:
        """For what recovery finds out again by itself."""
        self._journal.submit([self.remember(container)])

    def forget(self, container: Container) -> None:
        with self._guard:
            self._containers.pop(container.id, None)
            self._locks.pop(container.id, None)
            if self._names.get(container.name) == container.id:
                del self._names[container.name]

    # Waiting

    def wait(self, container_id: str, condition: str) -> "Future[WaitResult]":
        future: Future[WaitResult] = Future()
        with self._guard:
            self._waiters.setdefault(container_id, []).append((condition, future))
        return future

    def wake(self, container_id: str, conditions: Sequence[str], result: WaitResult) -> None:
        with self._guard:
            waiting = self._waiters.pop(container_id, [])
            due = [future for condition, future in waiting if condition in conditions]
            later = [(condition, future) for condition, future in waiting if condition not in conditions]
            if later:
                self._waiters[container_id] = later
        for future in due:
            if future.set_running_or_notify_cancel():
                future.set_result(result)
