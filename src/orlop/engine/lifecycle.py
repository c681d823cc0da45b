"""Starting and ending containers' processes, and what follows when one ends by itself.

    created/exited --start--> running --exit--> exited --(restart policy)--> restarting --> running ...
                              running <--pause/unpause--> paused

One lock a container is held while its state changes, never while somebody waits for a process to end.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from orlop.drivers.runtimes.driver import Exit
from orlop.engine.container_records import ContainerRecords, WaitResult
from orlop.engine.container_steps import ContainerSteps
from orlop.engine.endings import (
    KILL_PATIENCE_SECONDS,
    duration_seconds,
    ends_within,
    process_of,
    wait_for_end,
)
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.restarts import Restarts
from orlop.engine.standstill import Standstill
from orlop.errors import Conflict, Forbidden, NotFound, OrlopError, Unavailable
from orlop.kernel.signals import parse_signal
from orlop.model.container import Container, ContainerState, HostConfig, with_status
from orlop.planning.containers import (
    DEFAULT_STOP_SIGNAL,
    DEFAULT_STOP_TIMEOUT_SECONDS,
    plan_cleanup,
    plan_start,
)
from orlop.store.journal import Change

log = logging.getLogger(__name__)

SIGKILL = 9


class Lifecycle:
    def __init__(self, records: ContainerRecords, steps: ContainerSteps, executor: Executor, events: Events) -> None:
        self._records = records
        self._steps = steps
        self._executor = executor
        self._events = events
        self._exits = ThreadPoolExecutor(max_workers=64, thread_name_prefix="exit")
        self.restarts = Restarts(self._restart)
        self._stopped_for_a_while: set[str] = set()  # by this daemon
        self.standstill = Standstill(records, steps.runtime_of, self.emit)
        # Set by the composition root: who connects to a process before it runs, and what --rm does.
        self.before_start: Callable[[str], None] = lambda container_id: None
        self.start_failed: Callable[[str, OrlopError], None] = lambda container_id, error: None
        self.remove_automatically: Callable[[Container], None] = lambda container: None

    def shortfalls(self, host: HostConfig) -> Sequence[str]:
        """What this machine cannot give of what a container asks for, as warnings. Malformed for a runtime it does not
        have."""
        return self._steps.shortfalls(host)

    # Start

    def start(self, reference: str) -> bool:
        with self._records.locked(reference) as container:
            state = container.status.state
            if state is ContainerState.RUNNING:
                return False
            if state is ContainerState.PAUSED:
                raise Conflict("", "cannot start a paused container, try unpause instead")
            if state in (ContainerState.REMOVING, ContainerState.DEAD):
                raise Conflict("", "container is marked for removal and cannot be started")
            awaited_since = self.restarts.cancel(container.id)
            try:
                self._start(with_status(container, stopped_by_user=False, restart_count=0))
            except Unavailable as error:
                if awaited_since is not None or state is ContainerState.RESTARTING:
                    # A try in between does not end what its policy began.
                    self._is_worth_waiting(container, error, awaited_since)
                raise
        return True

    def _start(self, container: Container) -> None:
        """Called with the container's lock. On failure the container is as before, with the error in its status."""
        self._steps.begin_start(container.id)
        try:
            self._executor.run(plan_start(container), outcome=lambda: self._created(container))
        except OrlopError as error:
            self._steps.abandon_start(container.id)
            self._start_failed(container, error)
            raise
        started = self._records.find(container.id)
        runtime = self._steps.runtime_of(started)
        process = process_of(started)
        try:
            self.before_start(container.id)
            runtime.start(container.id)
        except OrlopError as error:
            self._executor.sweep(plan_cleanup(started))
            self._start_failed(started, error)
            raise
        self._records.save_later(with_status(started, starting=False))
        self.emit(started, "start")
        runtime.watch(container.id, process, self._on_exit)

    def _created(self, container: Container) -> list[Change]:
        process, network = self._steps.end_start(container.id)
        running = with_status(
            dataclasses.replace(container, network=network),
            state=ContainerState.RUNNING,
            starting=True,
            pid=process.pid,
            supervisor_pid=process.supervisor_pid,
            supervisor_started=process.supervisor_started,
            exit_code=0,
            error="",
            oom_killed=False,
            frozen_for="",
            comes_back="",
            started_at_ns=time.time_ns(),
        )
        return [self._records.remember(running)]

    def _start_failed(self, container: Container, error: OrlopError) -> None:
        exit_code = 127 if isinstance(error, NotFound) else 126 if isinstance(error, Forbidden) else 128
        failed = with_status(
            dataclasses.replace(container, network=None),
            state=ContainerState.EXITED if container.status.finished_at_ns else ContainerState.CREATED,
            starting=False,
            pid=0,
            comes_back="",
            exit_code=exit_code,
            error=error.message,
        )
        self._records.save_later(failed)
        self.start_failed(container.id, error)
        if failed.host.auto_remove:
            self._exits.submit(self.remove_automatically, failed)

    # The end

    def _on_exit(self, exit_: Exit) -> None:
        """From the runtime's watcher: hand over at once, it has others to watch."""
        if not self.restarts.are_over:
            self._exits.submit(self._guarded_exit, exit_)

    def _guarded_exit(self, exit_: Exit) -> None:
        try:
            self.ended(exit_)
        except Exception:
            log.exception("after the exit of container %s", exit_.container_id)

    def ended(self, exit_: Exit) -> None:
        """The container's process has ended: put everything away, tell everybody, start it again if asked to."""
        try:
            with self._records.locked(exit_.container_id) as container:
                if not container.is_running:
                    return
                delay = self.restarts.delay_after(container, exit_)
                ended = with_status(
                    container,
                    state=ContainerState.EXITED,
                    starting=False,
                    pid=0,
                    supervisor_pid=0,
                    frozen_for="",
                    exit_code=exit_.exit_code,
                    oom_killed=exit_.oom_killed,
                    error=exit_.error,
                    # The record of an exit is stamped by the kernel's tick, which may lie before a quick one's start.
                    finished_at_ns=max(exit_.at_ns, container.status.started_at_ns) if exit_.at_ns else time.time_ns(),
                )
                self._executor.sweep(plan_cleanup(ended))
                ended = dataclasses.replace(ended, network=None)
                if delay is not None:
                    ended = with_status(
                        ended, state=ContainerState.RESTARTING, restart_count=container.status.restart_count + 1
                    )
                self._records.save_later(ended)
        except NotFound:
            return
        if exit_.oom_killed:
            self.emit(ended, "oom")
        self.emit(ended, "die", {"exitCode": str(exit_.exit_code), "execDuration": str(duration_seconds(ended))})
        conditions = ("next-exit",) if delay is not None else ("next-exit", "not-running")
        self._records.wake(ended.id, conditions, WaitResult(exit_.exit_code))
        if ended.id in self._stopped_for_a_while:
            return  # who stopped it starts it again, or the next daemon
        if delay is not None:
            self.restarts.start_later(ended.id, delay)
        elif ended.host.auto_remove:
            self.remove_automatically(ended)

    # Restart policy

    def _restart(self, container_id: str) -> None:
        try:
            with self._records.locked(container_id) as container:
                if container.status.state is ContainerState.RESTARTING and not self.restarts.are_over:
                    try:
                        self._start(container)
                    except Unavailable as error:
                        if not self._is_worth_waiting(container, error):
                            raise
                    else:
                        self.restarts.answered(container_id)
        except OrlopError as error:
            log.warning("restarting container %s: %s", container_id, error)

    def start_when_possible(self, container_id: str) -> None:
        """In the background, and again until what it needs answers: as after an exit that its policy answers."""
        with self._records.locked(container_id) as container:
            if not container.is_running:
                self._records.save_later(with_status(container, state=ContainerState.RESTARTING))
                self.restarts.start_later(container_id, 0.0)

    def _is_worth_waiting(self, container: Container, error: Unavailable, since: float | None = None) -> bool:
        """Whether to try once more, as storage that is away may come back; if so, it is under way."""
        delay = self.restarts.delay_until_it_answers(container.id, since)
        if delay is None:
            return False
        log.warning("container %s waits for what it needs, to be started in %g s: %s", container.name, delay, error)
        self._records.save_later(
            with_status(self._records.find(container.id), state=ContainerState.RESTARTING, error=error.message)
        )
        self.restarts.start_later(container.id, delay)
        return True

    # Stop, kill

    def stop(self, reference: str, timeout_seconds: int | None = None, signal: str = "") -> bool:
        with self._records.locked(reference) as container:
            if container.status.state is ContainerState.RESTARTING:
                self._end_restarting(container)
                return True
            if not container.is_running:
                return False
            number = parse_signal(signal or container.config.stop_signal or DEFAULT_STOP_SIGNAL)
            container = with_status(container, stopped_by_user=True, comes_back="")
            self._records.save_later(container)
            container = self.standstill.lift(container)  # else it would hear no signal
            ended = self.wait(container.id, "not-running")
        self._end(reference, container, ended, number, timeout_seconds)
        return True

    def _end(
        self,
        reference: str,
        container: Container,
        ended: "Future[WaitResult]",
        number: int,
        timeout_seconds: int | None = None,
    ) -> None:
        if timeout_seconds is None:
            timeout_seconds = container.config.stop_timeout_seconds
        if timeout_seconds is None:
            timeout_seconds = DEFAULT_STOP_TIMEOUT_SECONDS
        if timeout_seconds != 0:
            self._signal(container, number)
        if not ends_within(ended, None if timeout_seconds < 0 else timeout_seconds):
            self._signal(container, SIGKILL)
            wait_for_end("stop", reference, container, ended, self._lives)
        self.emit(container, "stop")

    def stop_for_a_while(self, container_id: str, why: str) -> bool:
        """As `stop`, and `start_again` starts it: so does the next daemon where this one does not come to that. What is
        removed at its end stays. False where it does not run."""
        with self._records.locked(container_id) as container:
            if not container.is_running or container.status.stopped_by_user:
                return False
            self._stopped_for_a_while.add(container.id)
            container = with_status(container, comes_back=why)
            self._records.save(container)
            container = self.standstill.lift(container)
            ended = self.wait(container.id, "next-exit")
        number = parse_signal(container.config.stop_signal or DEFAULT_STOP_SIGNAL)
        self._end(container.name, container, ended, number)
        return True

    def start_again(self, container_id: str) -> None:
        """What was stopped for a while, unless its user did otherwise meanwhile. Raises what a start raises; storage
        that is away is tried again."""
        self._stopped_for_a_while.discard(container_id)
        with self._records.locked(container_id) as container:
            if container.status.state is not ContainerState.RESTARTING or not container.status.comes_back:
                return
            try:
                self._start(container)
            except Unavailable as error:
                self._is_worth_waiting(container, error)
                raise

    def kill(self, reference: str, signal: str = "") -> None:
        number = parse_signal(signal or "KILL")
        with self._records.locked(reference) as container:
            if container.status.state is ContainerState.RESTARTING:
                self._end_restarting(container)
                return
            if not container.is_running:
                raise Conflict("", f"cannot kill container: {reference}: container {container.id} is not running")
            stop_number = parse_signal(container.config.stop_signal or DEFAULT_STOP_SIGNAL)
            if number in (SIGKILL, stop_number):
                container = with_status(container, stopped_by_user=True, comes_back="")
                self._records.save_later(container)
            ended = self.wait(container.id, "not-running")
        self._signal(container, number)
        if number != SIGKILL:
            ended.cancel()
        else:
            wait_for_end("kill", reference, container, ended, self._lives)

    def _lives(self, container: Container) -> bool:
        return self._steps.runtime_of(container).is_alive(process_of(container))

    def end_for_storage(self, container_id: str) -> bool:
        """Killed, though not by its user: its restart policy says what follows. False where it does not end."""
        with self._records.locked(container_id) as container:
            if not container.is_running:
                return True
            ended = self.wait(container.id, "next-exit")
        self._signal(container, SIGKILL)
        return ends_within(ended, KILL_PATIENCE_SECONDS)

    def _signal(self, container: Container, number: int) -> None:
        runtime = self._steps.runtime_of(container)
        try:
            runtime.signal(container.id, container.status.pid, number)
        except NotFound:
            return  # it ended by itself meanwhile
        self.emit(container, "kill", {"signal": str(number)})
        if number != SIGKILL:
            return
        with self._records.locked(container.id) as now:
            # A frozen process dies only when it thaws.
            now = self.standstill.lift(now, is_dying=True)
            if now.status.state is ContainerState.PAUSED:
                runtime.resume(container.id)

    def _end_restarting(self, container: Container) -> None:
        self.restarts.cancel(container.id)
        stopped = with_status(container, state=ContainerState.EXITED, stopped_by_user=True, comes_back="")
        self._records.save_later(stopped)
        self._records.wake(container.id, ("not-running",), WaitResult(container.status.exit_code))

    def wait(self, container_id: str, condition: str) -> "Future[WaitResult]":
        container = self._records.find(container_id)
        if (
            condition == "not-running"
            and not container.is_running
            and container.status.state is not ContainerState.RESTARTING
        ):
            future: Future[WaitResult] = Future()
            future.set_result(WaitResult(container.status.exit_code))
            return future
        return self._records.wait(container.id, condition)

    # Pause

    def pause(self, reference: str) -> None:
        with self._records.locked(reference) as container:
            if container.status.state is ContainerState.PAUSED:
                raise Conflict("", f"Container {container.id} is already paused")
            if not container.is_running:
                raise Conflict("", f"Container {container.id} is not running")
            if not container.is_frozen:
                self._steps.runtime_of(container).pause(container.id)
            self._records.save(with_status(container, state=ContainerState.PAUSED))
            self.emit(container, "pause")

    def unpause(self, reference: str) -> None:
        with self._records.locked(reference) as container:
            if container.status.state is not ContainerState.PAUSED:
                raise Conflict("", f"Container {container.id} is not paused")
            if not container.is_frozen:
                self._steps.runtime_of(container).resume(container.id)
            self._records.save(with_status(container, state=ContainerState.RUNNING))
            self.emit(container, "unpause")

    # For everybody here

    def tell_why(self, container_id: str, error: str) -> None:
        """It does not run, and this is why it will not be able to."""
        with self._records.locked(container_id) as container:
            if not container.is_running:
                self._records.save_later(with_status(container, error=error))

    def emit(self, container: Container, action: str, more: dict[str, str] | None = None) -> None:
        attributes = {
            **container.config.labels,
            "image": container.config.image,
            "name": container.name,
            **(more or {}),
        }
        self._events.publish("container", action, container.id, attributes)

    def publish_prune(self, kind: str, reclaimed_bytes: int) -> None:
        self._events.publish(kind, "prune", "", {"reclaimed": str(reclaimed_bytes)})

    def sweep(self, container: Container) -> bool:
        """Put away whatever a container that does not run may have left."""
        return self._executor.sweep(plan_cleanup(container))

    def watch_again(self, container: Container) -> None:
        """After a restart of the daemon: the container kept running."""
        self._steps.runtime_of(container).watch(container.id, process_of(container), self._on_exit)

    def close(self) -> None:
        """The daemon stops; containers go on running and nothing is started or put away any more."""
        self.restarts.close()
        self._exits.shutdown(wait=True)
