"""Managed plugins as drivers of volumes: who is meant by a name, where it listens, where its paths are."""

from collections.abc import Sequence
from pathlib import Path

from orlop.engine.plugin_places import PluginPlaces
from orlop.engine.plugin_processes import PluginProcesses
from orlop.engine.plugin_records import NoSuchPlugin, PluginRecords
from orlop.errors import Conflict, HostFailure, NotFound
from orlop.model.plugin import VOLUME_DRIVER, Plugin


class PluginDrivers:
    """Thread-safe. Waits for nobody."""

    def __init__(self, records: PluginRecords, processes: PluginProcesses, places: PluginPlaces) -> None:
        self._records = records
        self._processes = processes
        self._places = places

    def find(self, name: str) -> tuple[str, str] | None:
        """Its id and whole name, enabled or not."""
        if not self._records.are_there:
            return None
        try:
            plugin = self._records.find(name)
        except NotFound:
            return None
        return plugin.id, plugin.name

    def names(self) -> Sequence[str]:
        return [plugin.name for plugin in self._records.all() if plugin.enabled and plugin.is_volume_driver]

    def socket(self, plugin_id: str) -> Path:
        """Raises Conflict where it is disabled, Unavailable while it is not up, NotFound when it was removed."""
        plugin = self._plugin(plugin_id)
        subject = f"error looking up volume plugin {plugin.name}"
        if not plugin.enabled:
            hint = f"docker plugin enable {plugin.name}"
            raise Conflict(subject, f"plugin {plugin.name} found but disabled", hint)
        if not plugin.is_volume_driver:
            raise HostFailure(subject, f'plugin does not provide "{VOLUME_DRIVER}" capability')
        self._processes.require_up(plugin)
        return self._places.socket(plugin)

    def timeout_seconds(self, plugin_id: str) -> float:
        plugin = self._records.get(plugin_id)
        return float(plugin.timeout_seconds) if plugin else 0.0

    def show(self, plugin_id: str, path: str) -> str:
        plugin = self._records.get(plugin_id)
        return self._places.show(plugin, path) if plugin and path else path

    def resolve(self, plugin_id: str, path: str) -> str:
        return self._places.resolve(self._plugin(plugin_id), path)

    def _plugin(self, plugin_id: str) -> Plugin:
        plugin = self._records.get(plugin_id)
        if plugin is None:
            raise NoSuchPlugin(plugin_id[:12])
        return plugin
