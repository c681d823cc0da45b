"""The end of a plugin's mounts: it is told once for each use, and again until it has taken it.

A plugin that is away keeps nobody waiting: a thread asks it later, and goes when nothing is left to ask. One that
refuses again and again is believed to have nothing mounted.
"""

import logging
import threading

from orlop.drivers.volumes.plugin_answers import Misunderstood, Refused
from orlop.drivers.volumes.plugin_link import PluginLink
from orlop.drivers.volumes.plugin_uses import PluginUse, PluginUses, UseState
from orlop.drivers.volumes.plugin_wire import CannotConnect, NoAnswer
from orlop.errors import OrlopError

log = logging.getLogger(__name__)

_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_REFUSALS = 6  # of an Unmount, until the plugin is believed to have nothing mounted


class PluginLeavings:
    """Thread-safe."""

    def __init__(self, link: PluginLink, uses: PluginUses) -> None:
        self._link = link
        self._uses = uses
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._refused: dict[tuple[str, str], int] = {}
        self._closed = threading.Event()

    def unmount(self, use: PluginUse) -> bool:
        """Whether the plugin took it, or has nothing to take. The caller holds the use."""
        try:
            self._link.call("Unmount", {"Name": use.volume, "ID": use.id})
        except (Refused, Misunderstood) as error:
            if self._is_worth_asking_again(use, error):
                return False
        except (CannotConnect, NoAnswer, OrlopError) as error:
            # Once: it is tried again and again.
            level = logging.DEBUG if use.state is UseState.LEAVING else logging.WARNING
            log.log(level, "volume plugin %s is to unmount %s when it answers: %s", self._link.name, use.volume, error)
            return False
        self._refused.pop((use.volume, use.id), None)
        self._uses.drop(use)
        return True

    def _is_worth_asking_again(self, use: PluginUse, error: Exception) -> bool:
        plugin, address = self._link.name, self._link.address
        if address is not None and address.identity != use.identity:
            log.info("volume plugin %s was started anew and knows no mount of %s: %s", plugin, use.volume, error)
            return False
        key = (use.volume, use.id)
        self._refused[key] = self._refused.get(key, 0) + 1
        if self._refused[key] < _REFUSALS:
            log.warning("volume plugin %s does not unmount %s: %s", plugin, use.volume, error)
            return True
        log.error("volume plugin %s did not unmount %s, which is given up: %s", plugin, use.volume, error)
        return False

    def leave_later(self, use: PluginUse) -> None:
        """The caller holds the use."""
        self._uses.put(PluginUse(use.volume, use.id, UseState.LEAVING, use.path, use.identity))
        self.go_on()

    def go_on(self) -> None:
        """With all uses that are leaving."""
        with self._lock:
            if self._thread is None and self._leaving() and not self._closed.is_set():
                self._thread = threading.Thread(target=self._leave, name=f"unmount {self._link.name}", daemon=True)
                self._thread.start()

    def _leaving(self) -> list[PluginUse]:
        return [use for use in self._uses.all() if use.state is UseState.LEAVING]

    def _leave(self) -> None:
        pauses, pause = iter(_PAUSES), 0.0
        while not self._closed.wait(pause):
            for use in self._leaving():
                with self._uses.hold(use.volume, use.id) as now:
                    if now is not None and now.state is UseState.LEAVING and not self._closed.is_set():
                        self.unmount(now)
            with self._lock:
                if not self._leaving():
                    self._thread = None
                    return
            pause = next(pauses, pause)

    def close(self) -> None:
        self._closed.set()
