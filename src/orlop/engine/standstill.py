"""Containers that stand still: until their storage is back, or while a volume of theirs is moved.

Beside the user's pause, and never mixed up with it: a pause is a state of the container, this is a reason noted in its
status. A container may have both; its processes run when it has neither. The reason is in the journal before the first
process stands still, so the daemon that comes after a crash knows whom to thaw.

For a move a container stands still for sure, whoever thaws what the storage froze: not one of its instructions may run
between the last look at the data and the switch. So a stop waits until that is over. A kill does not: who dies writes
nothing more.
"""

import threading
import time
from collections.abc import Callable

from orlop.drivers.runtimes.driver import Freezing, Runtime
from orlop.engine.container_records import ContainerRecords
from orlop.errors import NotFound, Unavailable, Unsupported
from orlop.model.container import Container, ContainerState, with_status

STILL_SECONDS = 10.0
_LOOK_SECONDS = 0.005

Emit = Callable[[Container, str, dict[str, str]], None]


class Standstill:
    """Thread-safe. `emit` tells of what happens to a container."""

    def __init__(self, records: ContainerRecords, runtime_of: Callable[[Container], Runtime], emit: Emit) -> None:
        self._records = records
        self._runtime_of = runtime_of
        self._emit = emit
        self._held: set[str] = set()  # ids of those that were frozen since this daemon began
        self._moving: set[str] = set()  # ids of those that nobody thaws now
        self._moved = threading.Condition()

    def holds(self, container: Container) -> bool:
        """Whether it stands still for sure. Of one that an earlier daemon left only the wish is known."""
        return container.is_frozen and container.id in self._held

    def begin(self, container_id: str, why: str) -> None:
        """Frozen already is success; who is told to stop is left alone. Raises Unsupported."""
        self._begin(container_id, f"frozen until its storage answers: {why}", why)

    def _begin(self, container_id: str, reason: str, why: str) -> None:
        try:
            with self._records.locked(container_id) as container:
                if not container.is_running or container.status.stopped_by_user or self.holds(container):
                    return
                is_news = not container.is_frozen
                runtime = self._freezing(container)
                frozen = with_status(container, frozen_for=reason)
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

    def _freezing(self, container: Container) -> Freezing:
        runtime = self._runtime_of(container)
        if not isinstance(runtime, Freezing):
            raise Unsupported(f"runtime {runtime.name}", "it cannot freeze containers")
        return runtime

    def end(self, container_id: str) -> None:
        try:
            with self._records.locked(container_id) as container:
                if container.id not in self._moving:
                    self.lift(container)
        except NotFound:
            return

    def lift(self, container: Container, is_dying: bool = False) -> Container:
        """Called with the container's lock. As it is without this; its user's pause stays. Waits for the end of a move,
        unless it `is_dying` of SIGKILL."""
        if not container.is_frozen:
            return container
        if not is_dying:
            with self._moved:
                self._moved.wait_for(lambda: container.id not in self._moving)
        runtime = self._runtime_of(container)
        if container.status.state is not ContainerState.PAUSED and isinstance(runtime, Freezing):
            runtime.thaw(container.id)
        self._held.discard(container.id)
        thawed = with_status(container, frozen_for="")
        self._records.save(thawed)
        self._emit(thawed, "thaw", {})
        return thawed

    # While a volume is moved

    def begin_move(self, container_id: str, why: str) -> None:
        """It stands still when this returns, until `end_move`, or has ended. Raises Unavailable where it does not: it
        waits in the kernel, or is just being stopped."""
        with self._moved:
            self._moving.add(container_id)
        try:
            self._begin(container_id, f"frozen for a moment: {why}", why)
            self._await_stillness(container_id)
        except BaseException:
            self.end_move(container_id)
            raise

    def _await_stillness(self, container_id: str) -> None:
        deadline = time.monotonic() + STILL_SECONDS
        while (container := self._records.get(container_id)) is not None and container.is_running:
            if self.holds(container) and self._freezing(container).is_still(container_id):
                return
            if time.monotonic() > deadline:
                why = f"its processes do not stand still within {STILL_SECONDS:g} s"
                raise Unavailable(f"container {container.name}", why, "They wait for storage, or are being stopped")
            time.sleep(_LOOK_SECONDS)

    def end_move(self, container_id: str) -> None:
        """It goes on, unless it has another reason to stand still. Never begun is success."""
        with self._moved:
            self._moving.discard(container_id)
            self._moved.notify_all()
        self.end(container_id)
