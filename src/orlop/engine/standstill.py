"""Containers that stand still until their storage is back.

Beside the user's pause, and never mixed up with it: a pause is a state of the container, this is a reason noted in its
status. A container may have both; its processes run when it has neither. The reason is in the journal before the first
process stands still, so the daemon that comes after a crash knows whom to thaw.
"""

from collections.abc import Callable

from orlop.drivers.runtimes.driver import Freezing, Runtime
from orlop.engine.container_records import ContainerRecords
from orlop.errors import NotFound, Unsupported
from orlop.model.container import Container, ContainerState, with_status

Emit = Callable[[Container, str, dict[str, str]], None]


class Standstill:
    """Thread-safe. `emit` tells of what happens to a container."""

    def __init__(self, records: ContainerRecords, runtime_of: Callable[[Container], Runtime], emit: Emit) -> None:
        self._records = records
        self._runtime_of = runtime_of
        self._emit = emit
        self._held: set[str] = set()  # ids of those that were frozen since this daemon began

    def holds(self, container: Container) -> bool:
        """Whether it stands still for sure. Of one that an earlier daemon left only the wish is known."""
        return container.is_frozen and container.id in self._held

    def begin(self, container_id: str, why: str) -> None:
        """Frozen already is success; who is told to stop is left alone. Raises Unsupported."""
        try:
            with self._records.locked(container_id) as container:
                if not container.is_running or container.status.stopped_by_user or self.holds(container):
                    return
                is_news = not container.is_frozen
                runtime = self._runtime_of(container)
                if not isinstance(runtime, Freezing):
                    raise Unsupported(f"runtime {runtime.name}", "it cannot freeze containers")
                frozen = with_status(container, frozen_for=f"frozen until its storage answers: {why}")
                self._records.save(frozen)
                if container.status.state is not ContainerState.PAUSED:
                    try:
                        runtime.freeze(container.id)
                    except BaseException:
                        self._records.save(container)
                        raise
                self._held.add(container.id)
        except NotFound:
            return  # removed meanwhile
        if is_news:
            self._emit(frozen, "freeze", {"why": why})

    def end(self, container_id: str) -> None:
        try:
            with self._records.locked(container_id) as container:
                self.lift(container)
        except NotFound:
            return

    def lift(self, container: Container) -> Container:
        """Called with the container's lock. As it is without this; its user's pause stays."""
        if not container.is_frozen:
            return container
        runtime = self._runtime_of(container)
        if container.status.state is not ContainerState.PAUSED and isinstance(runtime, Freezing):
            runtime.thaw(container.id)
        self._held.discard(container.id)
        thawed = with_status(container, frozen_for="")
        self._records.save(thawed)
        self._emit(thawed, "thaw", {})
        return thawed
