"""Containers run by an OCI runtime (crun or runc) under conmon.

Everything is below one directory of the exec root, which a reboot may clear:

    <runtime>/state/                       crun's or runc's own (--root)
    <runtime>/containers/<id>/             see orlop.drivers.runtimes.conmon; made by `create`, removed by `delete`
    <runtime>/containers/<id>/execs/<id>/  the same for an exec

The daemon keeps nothing in memory that it could not read back from there, so a new daemon goes on where the last one
stopped.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from orlop.drivers.runtimes import cgroups, conmon, failures, input_pipe, probe, seccomp, specification
from orlop.drivers.runtimes.bind_flags import keep_restrictions
from orlop.drivers.runtimes.call import call, is_readable
from orlop.drivers.runtimes.conmon import Conmon, Launched, Place, RuntimeRefused
from orlop.drivers.runtimes.driver import Bundle, Exit, ExitListener, Process, StartedExec, StartedProcess
from orlop.drivers.runtimes.limits import Limits
from orlop.drivers.runtimes.watcher import Watcher
from orlop.errors import HostFailure, NotFound, Unsupported
from orlop.kernel.process import is_same_process, parent_pid
from orlop.model.container import Resources, Ulimit
from orlop.store.files import remove_tree

log = logging.getLogger(__name__)

_CALL_SECONDS = 60.0
# Both runtimes keep a created process waiting at this FIFO and unlink it when it goes on.
_GATE = "exec.fifo"
# crun's and runc's records of a container.
_WRITTEN_LAST = ("status", "state.json")
# crun's: a compiled filter to load as it is, base64.
_READY_FILTER = "run.oci.seccomp_bpf_data"
_KILLED = 128 + signal.SIGKILL


class OciRuntime:
    def __init__(self, root: Path, choice: str = "", found: probe.FoundRuntime | None = None) -> None:
        """`root` is the exec root's directory for runtimes; `choice` crun, runc, a path, or "" for the best here;
        `found` is what was found of it already. Raises Unavailable when a program is missing."""
        self._found = found or probe.find_runtime(choice)
        root = root / self._found.name
        self._containers = root / "containers"
        self._state = root / "state"
        self._containers.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state.mkdir(mode=0o700, exist_ok=True)
        supervisor, directory, state = probe.find_supervisor(), _short_directory(root), f"--root={self._state}"
        self._conmon = Conmon(supervisor, (*self._found.creator, state), directory)
        self._passing_conmon = Conmon(supervisor, (*self._found.passing_creator, state), directory)
        self._limits = Limits.of_this_host(self._found.layout)
        self._filters = seccomp.FilterCache()
        self._hands_over_filters = self._found.name == "crun" and seccomp.can_compile()
        self._watcher = Watcher()
        self._going: set[str] = set()  # being deleted: the end of their supervisors is no news

    @property
    def name(self) -> str:
        return self._found.name

    @property
    def version(self) -> str:
        return self._found.version

    def shortfalls(self, resources: Resources, rlimits: Sequence[Ulimit]) -> Sequence[str]:
        return self._limits.shortfalls(resources, rlimits)

    def create(self, bundle: Bundle) -> StartedProcess:
        place = self._place(bundle.container_id)
        if place.directory.exists() or (self._state / bundle.container_id).exists():
            self.delete(bundle.container_id)  # left by a daemon that died, or by the run before
        document = self._document(bundle)
        place.prepare()
        try:
            launched = self._launch(place, bundle, document)
            if _READY_FILTER in document["annotations"] and not self._took_filter(bundle.container_id):
                raise HostFailure(self.name, "did not take the seccomp filter, so the container was not started")
            if bundle.process.tty and bundle.process.console_height and bundle.process.console_width:
                conmon.resize(place, bundle.process.console_height, bundle.process.console_width)
        except RuntimeRefused as refusal:
            self._discard(bundle.container_id)
            program = bundle.process.args[0] if bundle.process.args else ""
            raise failures.failure("create", program, str(refusal)) from refusal
        except BaseException:
            self._discard(bundle.container_id)
            raise
        return _started(launched)

    def _launch(self, place: Place, bundle: Bundle, document: specification.Document) -> Launched:
        place.config.write_text(json.dumps(document))
        options = [*_stdio(bundle.process)]
        if bundle.log_max_bytes:
            options += ["--log-size-max", str(bundle.log_max_bytes)]
        log_path = str(bundle.log_path) if bundle.log_path else ""
        supervisor = self._passing_conmon if specification.passes_mounts(bundle) else self._conmon
        sources = partial(self._bind_sources, place)
        return supervisor.launch(place, bundle.container_id, bundle.name, log_path, options, sources=sources)

    def _bind_sources(self, place: Place) -> Sequence[str]:
        """What somebody else's storage may be behind: without an answer from it neither a start nor an exec ends."""
        try:
            found = json.loads(place.config.read_bytes()).get("mounts", [])
        except (OSError, ValueError):
            return ()
        return [str(mount["source"]) for mount in found if mount.get("type") == "bind"]

    def _took_filter(self, container_id: str) -> bool:
        """crun keeps the filter it loads here, for execs. An annotation that a later crun no longer knows would be
        passed over in silence, and the container would run without any filter."""
        kept = self._state / container_id / "seccomp.bpf"
        return kept.exists() and kept.stat().st_size > 0

    def start(self, container_id: str) -> None:
        if self.name != "crun" or not _release(self._state / container_id / _GATE):
            self._call("start", container_id)

    def signal(self, container_id: str, pid: int, signal_number: int) -> None:
        place = self._place(container_id)
        gone = NotFound(container_id, "has no running process")
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise gone from error
        try:
            # The pid may be somebody else's by now; the pid file and the parent tell.
            if _read_number(place.pid_file) != pid or parent_pid(pid) != _read_number(place.supervisor_file):
                raise gone
            signal.pidfd_send_signal(fd, signal_number)
        except ProcessLookupError as error:
            raise gone from error
        finally:
            os.close(fd)

    def pause(self, container_id: str) -> None:
        self._freeze("pause", container_id, True)

    def resume(self, container_id: str) -> None:
        self._freeze("resume", container_id, False)

    def _freeze(self, command: str, container_id: str, frozen: bool) -> None:
        try:
            self._call(command, container_id)
        except HostFailure:
            # runc refuses what is so already, in words that may change.
            path = self._cgroup_path(container_id)
            if not path or cgroups.is_frozen(path, self._found.layout) != frozen or self.exit_of(container_id):
                raise

    def freeze(self, container_id: str) -> None:
        cgroups.set_frozen(self._cgroup_path(container_id), self._found.layout, True)

    def thaw(self, container_id: str) -> None:
        cgroups.set_frozen(self._cgroup_path(container_id), self._found.layout, False)

    def is_still(self, container_id: str) -> bool:
        return cgroups.is_still(self._cgroup_path(container_id), self._found.layout)

    def delete(self, container_id: str) -> None:
        self._going.add(container_id)
        try:
            self._delete(container_id)
        finally:
            self._going.discard(container_id)

    def _delete(self, container_id: str) -> None:
        place = self._place(container_id)
        state = self._state / container_id
        path = self._cgroup_path(container_id)
        ended = self.exit_of(container_id)
        refused: HostFailure | None = None
        # What ended and left nothing needs no more than what the runtime would do now, without starting it for that.
        if not (ended and cgroups.remove(path, self._found.layout)):
            if not ended and place.directory.exists() and not self._is_created(container_id):
                # A daemon died while this container was being created, and the runtime may still be at it.
                conmon.abandon(place)
            elif state.exists():
                refused = self._force_delete(container_id)
        if refused and path:
            cgroups.clear(path, self._found.layout)
        for supervised in (place, *(self._place(container_id, name) for name in _names_in(place.execs))):
            conmon.end(supervised)
        # Killed processes are in the way until somebody has reaped them, which may be after the runtime gave up.
        if path and not cgroups.clear(path, self._found.layout):
            raise refused or HostFailure(f"container {container_id}", f"its cgroup {path} cannot be removed")
        if refused and not path:
            raise refused
        for directory in (state, place.directory):
            try:
                remove_tree(directory)
            except FileNotFoundError:  # the runtime took something away meanwhile
                remove_tree(directory)

    def _force_delete(self, container_id: str) -> HostFailure | None:
        """Let the runtime kill and remove what is left; its refusal, if it does not."""
        try:
            self._call("delete", "--force", container_id)
        except HostFailure as error:
            log.warning("%s; doing without", error)
            return error
        return None

    def _is_created(self, container_id: str) -> bool:
        """The runtime has finished: the last thing it writes is there."""
        return any((self._state / container_id / name).exists() for name in _WRITTEN_LAST)

    def list_containers(self) -> Sequence[str]:
        found = {entry.name for top in (self._containers, self._state) if top.exists() for entry in top.iterdir()}
        return sorted(found)

    def is_alive(self, process: StartedProcess) -> bool:
        return is_same_process(process.supervisor_pid, process.supervisor_started)

    def is_started(self, container_id: str) -> bool:
        state = self._state / container_id
        return state.exists() and not (state / _GATE).exists()

    def exit_of(self, container_id: str, exec_id: str = "") -> Exit | None:
        place = self._place(container_id, exec_id)
        found = conmon.read_exit(place)
        if found is None:
            return None
        code, at_ns = found
        return Exit(container_id, exec_id, code, place.oom_file.exists(), at_ns)

    def attach(self, container_id: str, exec_id: str = "") -> socket.socket:
        return conmon.connect_and_wait(self._place(container_id, exec_id))

    def open_input(self, container_id: str, packets: socket.socket, exec_id: str = "") -> int:
        try:
            pid = int(self._place(container_id, exec_id).pid_file.read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return -1
        return input_pipe.open_input(packets, pid)

    def resize(self, container_id: str, height: int, width: int, exec_id: str = "") -> None:
        conmon.resize(self._place(container_id, exec_id), height, width)

    def processes(self, container_id: str) -> Sequence[int]:
        path = self._cgroup_path(container_id)
        return cgroups.processes_in(cgroups.directory_of(path, self._found.layout)) if path else ()

    def start_exec(self, container_id: str, exec_id: str, process: Process, attach: bool) -> StartedExec:
        place = self._place(container_id, exec_id)
        place.prepare()
        try:
            capabilities = self._limits.capabilities_of(process)
            rendered = specification.render_process(self._limits.clamped(process), capabilities)
            place.process.write_text(json.dumps(rendered))
            options = [*_stdio(process), "--exec", "--exec-process-spec", str(place.process)]
            sources = partial(self._bind_sources, self._place(container_id))
            launched = self._conmon.launch(place, exec_id, container_id, "", options, attach, sources)
        except RuntimeRefused as refusal:
            self.forget_exec(container_id, exec_id)
            raise failures.failure("exec", process.args[0] if process.args else "", str(refusal)) from refusal
        except BaseException:
            self.forget_exec(container_id, exec_id)
            raise
        return StartedExec(_started(launched), launched.attached)

    def forget_exec(self, container_id: str, exec_id: str) -> None:
        remove_tree(self._place(container_id, exec_id).directory)

    def watch(self, container_id: str, process: StartedProcess, listener: ExitListener, exec_id: str = "") -> None:
        def ended() -> None:
            listener(self.exit_of(container_id, exec_id) or self._mourn(container_id, exec_id))

        self._watcher.watch(process.supervisor_pid, process.supervisor_started, ended)

    def _mourn(self, container_id: str, exec_id: str) -> Exit:
        """The supervisor ended without an exit code: it was killed. What it supervised has lost its output, its
        terminal and the one who would reap it and learn its exit code, so it is killed too and called so."""
        place = self._place(container_id, exec_id)
        if container_id in self._going or not place.directory.exists():
            # By `delete`, which takes the record along.
            return Exit(container_id, exec_id, _KILLED, False, time.time_ns())
        if exec_id:
            self._kill(container_id, _read_number(place.pid_file))
        else:
            self._force_delete(container_id)
            path = self._cgroup_path(container_id)
            if path and not cgroups.clear(path, self._found.layout):
                log.error("container %s: cgroup %s cannot be removed", container_id, path)
        why = "its supervisor (conmon) was killed"
        return Exit(container_id, exec_id, _KILLED, False, time.time_ns(), why)

    def _kill(self, container_id: str, pid: int) -> None:
        """A process of the container, if the pid is still one."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                if pid in self.processes(container_id):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                    is_readable(fd, _CALL_SECONDS)
            finally:
                os.close(fd)

    def _document(self, bundle: Bundle) -> specification.Document:
        init = probe.find_init() if bundle.init else ""
        if bundle.init and not init:
            raise Unsupported("--init", "no small init is installed", "Install one: apt-get install tini")
        fitted = self._limits.fitted(bundle)
        fitted = replace(fitted, mounts=keep_restrictions(fitted.mounts))
        capabilities = self._limits.capabilities_of(bundle.process)
        filtered = seccomp.section(bundle.seccomp, capabilities)
        annotations: dict[str, str] = {}
        if filtered is not None and self._hands_over_filters:
            annotations[_READY_FILTER] = self._filters.compiled(filtered)
            filtered = None
        return specification.render_bundle(fitted, capabilities, self._found.layout, filtered, annotations, init)

    def _place(self, container_id: str, exec_id: str = "") -> Place:
        place = Place(self._containers / container_id, container_id)
        return Place(place.execs / exec_id, container_id) if exec_id else place

    def _cgroup_path(self, container_id: str) -> str:
        """ "" when there is no such container."""
        try:
            return str(json.loads(self._place(container_id).config.read_bytes())["linux"]["cgroupsPath"])
        except (FileNotFoundError, ValueError):  # ValueError: a daemon died while it wrote it
            return ""

    def _discard(self, container_id: str) -> None:
        """After a failed create; what goes wrong here must not hide why it failed."""
        try:
            self.delete(container_id)
        except (OSError, HostFailure) as error:
            log.error("cleaning up after a failed create of %s: %s", container_id, error)

    def _call(self, *arguments: str) -> None:
        """Run the runtime as it is: nothing called here looks at the layout of the cgroups."""
        command = [self._found.program, f"--root={self._state}", *arguments]
        what = f"{self.name} {arguments[0]} {arguments[-1]}"
        try:
            code, said = call(command, _CALL_SECONDS)
        except TimeoutError as error:
            raise HostFailure(what, str(error.strerror)) from error
        except FileNotFoundError as error:
            raise HostFailure(what, f"{self._found.program} has gone", f"Install {self.name} again") from error
        if code != 0:
            raise HostFailure(what, failures.last_words(said))


def _stdio(process: Process) -> Sequence[str]:
    if process.tty:
        # A terminal takes input by itself. With --stdin conmon would shut it for good when a client detaches.
        return ["--terminal"]
    if process.stdin:
        return ["--stdin"] if process.stdin_once else ["--stdin", "--leave-stdin-open"]
    return []


def _release(gate: Path) -> bool:
    """What `crun start` does when there is nothing to check, without a process for it: all versions of crun have done
    just this. False when it cannot be done so; then crun is asked, which also knows the reason."""
    try:
        fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        gate.unlink()
        os.write(fd, b"\0")
    finally:
        os.close(fd)
    return True


def _started(launched: Launched) -> StartedProcess:
    return StartedProcess(launched.pid, launched.supervisor_pid, launched.supervisor_started)


def _short_directory(root: Path) -> Path:
    """Where conmon may put a socket with a name of its own making: a socket's path has room for 107 bytes."""
    if len(os.fsencode(root)) + len("/conmon-term.XXXXXX") < 107:
        return root
    run = Path("/run")  # only root writes there, unlike /tmp
    return run if os.access(run, os.W_OK) else Path("/tmp")  # noqa: S108


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return -1


def _names_in(directory: Path) -> Sequence[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
