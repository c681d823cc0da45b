"""Streams into and out of containers: attach, exec, resize.

A client that attaches before its container runs (docker run does) waits here: between the creation of the process and
its start every waiting client is connected, so that nobody misses the first line.
"""

import dataclasses
import logging
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from orlop.drivers.runtimes.driver import DirectInput, Exit, Process, Runtime
from orlop.engine.accounts import find_account
from orlop.engine.container_records import ContainerRecords
from orlop.engine.container_steps import ContainerSteps
from orlop.engine.events import Events
from orlop.engine.layer_mounts import LayerMounts
from orlop.engine.rootfs import open_rootfs
from orlop.errors import Conflict, NoSuchContainer, NoSuchExec, NotFound, OrlopError
from orlop.model.container import Container, ContainerState
from orlop.model.value import dataclass
from orlop.planning.containers import process_environment

log = logging.getLogger(__name__)

_KEPT_ENDED_EXECS = 200  # of each container: clients ask for the exit code after the end


@dataclass(frozen=True, slots=True)
class ExecWish:
    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    privileged: bool = False
    detach_keys: str = ""
    console_height: int = 0
    console_width: int = 0


@dataclass(frozen=True, slots=True)
class Exec:
    id: str
    container_id: str
    wish: ExecWish
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """Whoever gets it closes both."""

    packets: socket.socket  # see Runtime.attach
    input: int = -1  # a descriptor of the process's standard input itself (DirectInput), where there is one


class Sessions:
    """Thread-safe. Execs live in memory only: after a restart of the daemon their exit codes are gone."""

    def __init__(self, records: ContainerRecords, steps: ContainerSteps, mounts: LayerMounts, events: Events) -> None:
        self._records = records
        self._steps = steps
        self._mounts = mounts
        self._events = events
        self._guard = threading.Lock()
        self._waiting: dict[str, list[tuple[Future[Attachment], bool]]] = {}  # and whether they write
        self._execs: dict[str, Exec] = {}
        self._exec_ends: dict[str, list[Future[None]]] = {}

    # Attach

    def attach(self, reference: str, writes: bool = False) -> "Future[Attachment]":
        """At once for a running container, at its next start for one that is not. `writes`: to its input. Cancel the
        future to give up waiting."""
        future: Future[Attachment] = Future()
        with self._records.locked(reference) as container:
            if container.status.state is ContainerState.PAUSED:
                raise Conflict("", f"container {container.id} is paused, unpause the container before attach")
            if container.is_running:
                future.set_result(_attached(self._steps.runtime_of(container), container.id, writes))
            else:
                with self._guard:
                    self._waiting.setdefault(container.id, []).append((future, writes))
        self._emit(container, "attach")
        return future

    def connect_waiting(self, container_id: str) -> None:
        """Called between the creation of a container's process and its start."""
        with self._guard:
            waiting = self._waiting.pop(container_id, [])
        if not waiting:
            return
        runtime = self._steps.runtime_of(self._records.find(container_id))
        for future, writes in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(_attached(runtime, container_id, writes))
            except OrlopError as error:
                log.error("attaching to container %s: %s", container_id, error)
                future.set_exception(error)

    def give_up_waiting(self, container_id: str, error: OrlopError | None = None) -> None:
        """The start failed, or the container is gone: nobody will be connected any more."""
        with self._guard:
            waiting = self._waiting.pop(container_id, [])
        for future, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(error or NoSuchContainer(container_id))

    def resize(self, reference: str, height: int, width: int) -> None:
        container = self._running(reference)
        self._steps.runtime_of(container).resize(container.id, height, width)
        self._emit(container, "resize", {"height": str(height), "width": str(width)})

    # Exec

    def create_exec(self, reference: str, wish: ExecWish) -> str:
        container = self._running(reference)
        if container.status.state is ContainerState.PAUSED:
            raise Conflict("", f"Container {container.id} is paused, unpause the container before exec")
        if container.is_frozen:
            raise Conflict("", f"Container {container.id} is {container.status.frozen_for}")
        exec_ = Exec(secrets.token_hex(32), container.id, wish)
        with self._guard:
            self._execs[exec_.id] = exec_
        self._emit(container, f"exec_create: {' '.join(wish.command)}", {"execID": exec_.id})
        return exec_.id

    def start_exec(self, exec_id: str, detach: bool) -> Attachment | None:
        """None when detached."""
        exec_ = self.get_exec(exec_id)
        if exec_.running or exec_.exit_code is not None:
            raise Conflict("", f"exec {exec_id} has already been run", "Create another one")
        container = self._running(exec_.container_id)
        runtime = self._steps.runtime_of(container)
        self._update(exec_id, running=True)
        try:
            process = self._process(container, exec_.wish)
            started = runtime.start_exec(container.id, exec_id, process, attach=not detach)
        except OrlopError as error:
            code = 127 if isinstance(error, NotFound) else 126
            self._update(exec_id, running=False, exit_code=code)
            raise
        self._update(exec_id, pid=started.process.pid)
        self._emit(container, f"exec_start: {' '.join(exec_.wish.command)}", {"execID": exec_id})
        runtime.watch(container.id, started.process, self._exec_ended, exec_id)
        if started.attached is None:
            return None
        writes = exec_.wish.attach_stdin and not exec_.wish.tty
        return _with_input(runtime, container.id, started.attached, writes, exec_id)

    def _process(self, container: Container, wish: ExecWish) -> Process:
        config, host = container.config, container.host
        user = wish.user or config.user
        # A running container's file system is mounted already; this only adds a reader.
        with self._mounts.mounted(container.layer_id, f"exec-{secrets.token_hex(4)}") as rootfs:
            rootfs_fd = open_rootfs(rootfs)
            try:
                account = find_account(rootfs_fd, user, host.group_add)
            finally:
                os.close(rootfs_fd)
        merged = dataclasses.replace(config, tty=wish.tty, env=_overlaid(config.env, wish.env))
        privileged = wish.privileged or host.privileged
        return Process(
            args=wish.command,
            env=process_environment(merged, config.hostname or container.id[:12], account.home),
            cwd=wish.workdir or config.workdir or "/",
            uid=account.uid,
            gid=account.gid,
            additional_gids=account.additional_gids,
            tty=wish.tty,
            console_height=wish.console_height,
            console_width=wish.console_width,
            stdin=wish.attach_stdin,
            stdin_once=True,
            cap_add=host.cap_add,
            cap_drop=host.cap_drop,
            privileged=privileged,
            no_new_privileges=any(item.startswith("no-new-privileges") for item in host.security_options),
            rlimits=host.ulimits,
        )

    def resize_exec(self, exec_id: str, height: int, width: int) -> None:
        exec_ = self.get_exec(exec_id)
        container = self._running(exec_.container_id)
        self._steps.runtime_of(container).resize(container.id, height, width, exec_id)

    def get_exec(self, exec_id: str) -> Exec:
        with self._guard:
            exec_ = self._execs.get(exec_id)
            if exec_ is None:
                matches = [item for item in self._execs.values() if exec_id and item.id.startswith(exec_id)]
                exec_ = matches[0] if len(matches) == 1 else None
        if exec_ is None:
            raise NoSuchExec(exec_id)
        return exec_

    def exec_end(self, exec_id: str) -> "Future[None]":
        """Done when the exit code is known, or never will be. Streams end a moment before: the client that asks for the
        exit code as soon as they have ended must not be told that there is none."""
        future: Future[None] = Future()
        with self._guard:
            exec_ = self._execs.get(exec_id)
            if exec_ is not None and exec_.exit_code is None:
                self._exec_ends.setdefault(exec_id, []).append(future)
                return future
        future.set_result(None)
        return future

    def exec_ids(self, container_id: str) -> Sequence[str]:
        """Of those that run, or wait to be started."""
        with self._guard:
            mine = [exec_ for exec_ in self._execs.values() if exec_.container_id == container_id]
        return [exec_.id for exec_ in mine if exec_.exit_code is None]

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        with self._guard:
            for exec_id in [item.id for item in self._execs.values() if item.container_id == container_id]:
                del self._execs[exec_id]
                self._tell_end(exec_id)
        self.give_up_waiting(container_id)

    def _exec_ended(self, exit_: Exit) -> None:
        self._update(exit_.exec_id, running=False, exit_code=exit_.exit_code, pid=0)
        container = self._records.get(exit_.container_id)
        if container is not None:
            self._steps.runtime_of(container).forget_exec(exit_.container_id, exit_.exec_id)
            self._emit(container, "exec_die", {"execID": exit_.exec_id, "exitCode": str(exit_.exit_code)})
        with self._guard:
            ended = [
                item.id
                for item in self._execs.values()
                if item.container_id == exit_.container_id and item.exit_code is not None
            ]
            for exec_id in ended[:-_KEPT_ENDED_EXECS]:
                del self._execs[exec_id]

    def _update(self, exec_id: str, **changes: bool | int | None) -> None:
        with self._guard:
            exec_ = self._execs.get(exec_id)
            if exec_ is not None:
                exec_ = self._execs[exec_id] = dataclasses.replace(exec_, **changes)  # type: ignore[arg-type]
                if exec_.exit_code is not None:
                    self._tell_end(exec_id)

    def _tell_end(self, exec_id: str) -> None:
        for future in self._exec_ends.pop(exec_id, []):
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def _running(self, reference: str) -> Container:
        container = self._records.find(reference)
        if not container.is_running:
            raise Conflict("", f"container {container.id} is not running", f"Start it: docker start {container.name}")
        return container

    def _emit(self, container: Container, action: str, more: dict[str, str] | None = None) -> None:
        attributes = {
            **container.config.labels,
            "image": container.config.image,
            "name": container.name,
            **(more or {}),
        }
        self._events.publish("container", action, container.id, attributes)


def _attached(runtime: Runtime, container_id: str, writes: bool) -> Attachment:
    return _with_input(runtime, container_id, runtime.attach(container_id), writes)


def _with_input(
    runtime: Runtime, container_id: str, packets: socket.socket, writes: bool, exec_id: str = ""
) -> Attachment:
    if not writes or not isinstance(runtime, DirectInput):
        return Attachment(packets)
    return Attachment(packets, runtime.open_input(container_id, packets, exec_id))


def _overlaid(base: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    named = {item.partition("=")[0] for item in more}
    return (*(item for item in base if item.partition("=")[0] not in named), *more)
