"""Processes of managed plugins: started, watched, ended; started anew when one ends by itself.

    enabled --start--> running --ends by itself--> waiting --(0.1 s, then twice as long each time, at most a minute)-->
    running ...        running --stop--> gone

They are containers of the OCI runtime with a root file system of their own, in a folder of the exec root apart from
everybody's containers; conmon holds them, so they go on when the daemon ends, and the next daemon finds them again.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path

from orlop.drivers.runtimes.driver import Exit, Runtime, StartedProcess
from orlop.engine.plugin_places import PluginPlaces, tail
from orlop.errors import Forbidden, HostFailure, NotFound, Unavailable
from orlop.model.plugin import Plugin
from orlop.model.value import dataclass
from orlop.planning.plugins import build_plugin_bundle

log = logging.getLogger(__name__)

_SOCKET_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.02
_FAREWELL_SECONDS = 10.0
_KILL_SECONDS = 10.0
_FIRST_DELAY, _LONGEST_DELAY, _STABLE_SECONDS = 0.1, 60.0, 10.0


@dataclass(slots=True)
class _Life:
    """Of one process."""

    process: StartedProcess
    ended: threading.Event = field(default_factory=threading.Event)
    is_up: bool = False  # it has listened
    is_wanted: bool = True  # its end is news
    since: float = field(default_factory=time.monotonic)


class PluginProcesses:
    """Thread-safe; who starts and stops a plugin holds its lock. `get_runtime` gives the same one each time; `resolve`
    gives variables with the secrets that they name. `root` is the runtime's;
    `hide` hides secrets in what a plugin said."""

    def __init__(
        self,
        places: PluginPlaces,
        get_runtime: Callable[[], Runtime],
        resolve: Callable[[Mapping[str, str]], Mapping[str, str]],
        root: Path,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._hide = hide
        self._root = root
        self._places = places
        self._get_runtime = get_runtime
        self._resolve = resolve
        self._lives: dict[str, _Life] = {}
        self._delays: dict[str, float] = {}
        self._timers: dict[str, threading.Timer] = {}
        self._trouble: dict[str, str] = {}
        self._closing = False
        # Set by who keeps the records: start it again, under its lock.
        self.start_again: Callable[[str], None] = lambda plugin_id: None

    # Looking

    def is_up(self, plugin_id: str) -> bool:
        life = self._lives.get(plugin_id)
        return life is not None and life.is_up and not life.ended.is_set()

    def trouble(self, plugin_id: str) -> str:
        """Why it is not up though it is enabled, "" where that is not known."""
        return self._trouble.get(plugin_id, "")

    # Starting

    def start(self, plugin: Plugin) -> Plugin:
        """With its process, once it listens. Raises HostFailure with its last words, having left nothing."""
        subject = f"enabling plugin {plugin.name}"
        self._cancel(plugin.id)
        runtime = self._get_runtime()
        try:
            process = self._create(runtime, plugin)
        except (NotFound, Forbidden) as error:  # of its program, which the plugin should have brought along
            raise HostFailure(subject, error.message) from error
        life = self._watch(plugin, process)
        try:
            runtime.start(plugin.id)
            self._await_socket(subject, plugin, life)
        except BaseException:
            self._halt(plugin.id, 0.0)
            raise
        self._trouble.pop(plugin.id, None)
        return _with_process(plugin, process)

    def _create(self, runtime: Runtime, plugin: Plugin) -> StartedProcess:
        places = self._places
        places.prepare(plugin)
        variables = self._resolve(dict(plugin.settings.variables))
        bundle = build_plugin_bundle(
            plugin,
            places.rootfs(plugin),
            places.propagated(plugin.id),
            places.sockets(plugin.id),
            places.log(plugin.id),
            variables,
        )
        places.log(plugin.id).unlink(missing_ok=True)
        return runtime.create(bundle)

    def _await_socket(self, subject: str, plugin: Plugin, life: _Life) -> None:
        place = self._places.socket(plugin)
        deadline = time.monotonic() + _SOCKET_SECONDS
        while not _listens(str(place)):
            if life.ended.wait(_LOOK_AGAIN_SECONDS):
                found = self._get_runtime().exit_of(plugin.id)
                code = f" with status {found.exit_code}" if found else ""
                raise HostFailure(subject, f"its process ended{code}", self._last_words(plugin))
            if time.monotonic() > deadline:
                why = f"nobody listens on {plugin.config.socket} after {_SOCKET_SECONDS:g} seconds"
                raise HostFailure(subject, why, self._last_words(plugin))
        life.is_up = True

    def _last_words(self, plugin: Plugin) -> str:
        said = self._hide(tail(self._places.log(plugin.id)))
        return f"The last it said: {said}" if said else "It said nothing"

    def take_over(self, plugin: Plugin) -> bool:
        """At start: whether the process that an earlier daemon started lives; it is watched from here on."""
        process = StartedProcess(plugin.pid, plugin.supervisor_pid, plugin.supervisor_started)
        runtime = self._get_runtime()
        if not plugin.pid or not runtime.is_alive(process) or not runtime.is_started(plugin.id):
            return False
        self._watch(plugin, process).is_up = True
        return True

    def _watch(self, plugin: Plugin, process: StartedProcess) -> _Life:
        life = self._lives[plugin.id] = _Life(process)

        def listener(exit_: Exit) -> None:
            life.ended.set()
            if life.is_wanted and life.is_up and not self._closing:
                self._ended(plugin, life, exit_)

        self._get_runtime().watch(plugin.id, process, listener)
        return life

    # Ending

    def _ended(self, plugin: Plugin, life: _Life, exit_: Exit) -> None:
        said = self._last_words(plugin)
        self._trouble[plugin.id] = f"its process ended with status {exit_.exit_code}"
        log.warning("plugin %s ended with status %d and is started again. %s", plugin.name, exit_.exit_code, said)
        if time.monotonic() - life.since > _STABLE_SECONDS:
            self._delays.pop(plugin.id, None)
        self.start_later(plugin.id)

    def start_later(self, plugin_id: str, why: str = "") -> None:
        """Each time in a row later."""
        if self._closing:
            return
        if why:
            self._trouble[plugin_id] = why
        delay = self._delays.get(plugin_id, _FIRST_DELAY)
        self._delays[plugin_id] = min(delay * 2, _LONGEST_DELAY)
        timer = threading.Timer(delay, self.start_again, (plugin_id,))
        timer.daemon = True
        self._timers[plugin_id] = timer
        timer.start()

    def _cancel(self, plugin_id: str) -> None:
        timer = self._timers.pop(plugin_id, None)
        if timer is not None:
            timer.cancel()

    def stop(self, plugin_id: str, patience_seconds: float = _FAREWELL_SECONDS) -> None:
        """Asked to end, then made to; gone already is success."""
        self._cancel(plugin_id)
        self._halt(plugin_id, patience_seconds)
        self._trouble.pop(plugin_id, None)
        self._delays.pop(plugin_id, None)

    def _halt(self, plugin_id: str, patience_seconds: float) -> None:
        runtime = self._get_runtime()
        life = self._lives.get(plugin_id)
        if life is not None:
            life.is_wanted = False
            if patience_seconds:
                with suppress(NotFound):
                    runtime.signal(plugin_id, life.process.pid, signal.SIGTERM)
                    if not life.ended.wait(patience_seconds):
                        log.warning("plugin %s did not end when asked to, and is killed", plugin_id[:12])
        runtime.delete(plugin_id)
        if life is not None and not life.ended.wait(_KILL_SECONDS):
            raise HostFailure(f"stopping plugin {plugin_id[:12]}", "its process does not end, not even when killed")
        self._lives.pop(plugin_id, None)

    def left_behind(self) -> list[str]:
        """Ids that the runtime has something of, living or not."""
        if not self._root.exists():
            return []
        try:
            return list(self._get_runtime().list_containers())
        except Unavailable as error:
            log.info("plugins: %s", error)
            return []

    def close(self) -> None:
        """They go on."""
        self._closing = True
        for timer in list(self._timers.values()):
            timer.cancel()

    def require_up(self, plugin: Plugin) -> None:
        """Raises Unavailable where it is not, which passes."""
        if not self.is_up(plugin.id):
            why = self.trouble(plugin.id) or "it is being started"
            hint = f"It is started again by itself; its log: {self._places.log(plugin.id)}"
            raise Unavailable(f"error looking up volume plugin {plugin.name}", why, hint)


def _with_process(plugin: Plugin, process: StartedProcess) -> Plugin:
    return replace(
        plugin,
        pid=process.pid,
        supervisor_pid=process.supervisor_pid,
        supervisor_started=process.supervisor_started,
    )


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
