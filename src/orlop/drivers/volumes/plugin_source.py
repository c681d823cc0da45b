"""Which volume plugins there are on this host: those that the engine runs itself (managed ones), and those that are
found by their files, whenever somebody asks for one.

A managed one goes before one with a file, also where it is disabled: then it says so, and nobody else answers for it.

Asking which there are, and for one of them, asks no plugin: a driver is given for whatever has a file, and says what is
wrong with it when it is used.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from orlop.drivers.volumes.driver import ManagedPlugins
from orlop.drivers.volumes.plugin import Paths, PluginVolumes
from orlop.drivers.volumes.plugin_address import Address, PluginNames, canonical_name, find_address, socket_address
from orlop.drivers.volumes.plugin_link import Deadlines, PluginLink
from orlop.drivers.volumes.plugin_uses import PluginUses
from orlop.errors import OrlopError

log = logging.getLogger(__name__)

DEFAULT_DIRECTORIES = (Path("/run/docker/plugins"), Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))


class PluginSource:
    """Thread-safe. `run` is where uses are noted: a directory a plugin; `resolve` gives options with their secrets. Of
    managed plugins uses are noted in `managed_run`, by their ids."""

    def __init__(
        self,
        run: Path,
        directories: Sequence[Path] = DEFAULT_DIRECTORIES,
        resolve: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda options: options,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - it is frozen
        managed: ManagedPlugins | None = None,
        managed_run: Path | None = None,
    ) -> None:
        self._managed = managed
        self._managed_run = managed_run or run
        self._managed_drivers: dict[str, PluginVolumes] = {}
        self._deadlines = deadlines
        self._resolve = resolve
        self._run = run
        self._directories = tuple(directories)
        self._names = PluginNames(self._directories)
        self._lock = threading.Lock()
        self._drivers: dict[str, PluginVolumes] = {}
        for place in sorted(run.iterdir()) if run.is_dir() else ():
            self._make(place.name)  # an earlier daemon told it of uses: it may be away now, and must hear of their end

    def find(self, name: str) -> PluginVolumes | None:
        """None where nothing names it and nothing ever did."""
        if self._managed is not None and (meant := self._managed.find(name)) is not None:
            return self._make_managed(self._managed, *meant)
        name = canonical_name(name)
        known = self._drivers.get(name)
        if known is not None:
            return known
        try:
            if find_address(self._directories, name) is None:
                return None
        except OrlopError as error:
            log.warning("volume plugin %s: %s", name, error)  # its driver says so to whoever uses it
        return self._make(name)

    def names(self) -> Sequence[str]:
        """Of what has a file now, and of what was used since the start."""
        managed = self._managed.names() if self._managed is not None else ()
        taken = {canonical_name(name) for name in managed}
        return sorted({*managed, *({*self._names.read(), *self._drivers} - taken)})

    def forget(self, plugin_id: str) -> None:
        """A managed plugin was disabled or removed: what its process was told has ended with it."""
        with self._lock:
            driver = self._managed_drivers.pop(plugin_id, None)
        if driver is not None:
            driver.close()
        PluginUses(self._managed_run / plugin_id).clear()

    def close(self) -> None:
        for driver in [*self._drivers.values(), *self._managed_drivers.values()]:
            driver.close()

    def _make(self, name: str) -> PluginVolumes:
        def locate() -> Address | None:
            return find_address(self._directories, name)

        with self._lock:
            known = self._drivers.get(name)
            if known is None:
                link = PluginLink(name, locate, lambda: self._deadlines)
                known = PluginVolumes(link, PluginUses(self._run / name), self._resolve)
                self._drivers[name] = known
            return known

    def _make_managed(self, managed: ManagedPlugins, plugin_id: str, name: str) -> PluginVolumes:
        def locate() -> Address | None:
            return socket_address(str(managed.socket(plugin_id)))

        def deadlines() -> Deadlines:
            return self._deadlines.at_most(managed.timeout_seconds(plugin_id))

        with self._lock:
            known = self._managed_drivers.get(plugin_id)
            if known is None:
                paths = Paths(partial(managed.show, plugin_id), partial(managed.resolve, plugin_id))
                uses = PluginUses(self._managed_run / plugin_id)
                known = PluginVolumes(PluginLink(name, locate, deadlines, is_known=True), uses, self._resolve, paths)
                self._managed_drivers[plugin_id] = known
            return known
