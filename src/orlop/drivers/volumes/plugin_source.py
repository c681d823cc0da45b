"""Which volume plugins there are on this host: found by their files whenever somebody asks for one.

Asking which there are, and for one of them, asks no plugin: a driver is given for whatever has a file, and says what is
wrong with it when it is used.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orlop.drivers.volumes.plugin import PluginVolumes
from orlop.drivers.volumes.plugin_address import Address, PluginNames, canonical_name, find_address
from orlop.drivers.volumes.plugin_link import Deadlines, PluginLink
from orlop.drivers.volumes.plugin_uses import PluginUses
from orlop.errors import OrlopError

log = logging.getLogger(__name__)

DEFAULT_DIRECTORIES = (Path("/run/docker/plugins"), Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))


class PluginSource:
    """Thread-safe. `run` is where uses are noted: a directory a plugin; `resolve` gives options with their secrets."""

    def __init__(
        self,
        run: Path,
        directories: Sequence[Path] = DEFAULT_DIRECTORIES,
        resolve: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda options: options,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - it is frozen
    ) -> None:
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
        return sorted({*self._names.read(), *self._drivers})

    def close(self) -> None:
        for driver in list(self._drivers.values()):
            driver.close()

    def _make(self, name: str) -> PluginVolumes:
        def locate() -> Address | None:
            return find_address(self._directories, name)

        with self._lock:
            known = self._drivers.get(name)
            if known is None:
                known = PluginVolumes(
                    PluginLink(name, locate, self._deadlines), PluginUses(self._run / name), self._resolve
                )
                self._drivers[name] = known
            return known
