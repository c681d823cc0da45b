"""What the daemon remembers of managed plugins: in memory for reading, in the journal for good, and beside each
plugin's files for a day on which the journal is lost.
"""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from orlop.engine.keyed_locks import KeyedLocks
from orlop.errors import Conflict, Malformed, NotFound, OrlopError
from orlop.model.plugin import Plugin
from orlop.model.reference import parse_reference
from orlop.store.files import write_durably
from orlop.store.journal import Change, Drop, Journal, Put
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)

_FULL_ID = re.compile("[0-9a-f]{64}")
_RECORD = "plugin.json"


class NoSuchPlugin(NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__("", f'plugin "{reference}" not found', "List them: docker plugin ls")


class PluginRecords:
    """Thread-safe."""

    def __init__(self, journal: Journal, data_root: DataRoot) -> None:
        self._journal = journal
        self._data_root = data_root
        self._guard = threading.Lock()
        self._locks = KeyedLocks()
        self._plugins = journal.load("plugins", Plugin)

    def all(self) -> list[Plugin]:
        with self._guard:
            return sorted(self._plugins.values(), key=lambda plugin: plugin.name)

    @property
    def are_there(self) -> bool:
        return bool(self._plugins)

    def get(self, plugin_id: str) -> Plugin | None:
        return self._plugins.get(plugin_id)

    def named(self, name: str) -> Plugin | None:
        """By its whole name."""
        return next((plugin for plugin in self.all() if plugin.name == name), None)

    def find(self, reference: str) -> Plugin:
        """By id, name (without a tag: `latest`) or unique beginning of an id, in this order, as Docker does. Raises
        NoSuchPlugin, Malformed where it is the beginning of several."""
        if _FULL_ID.fullmatch(reference):
            found = self.get(reference)
            if found is None:
                raise NoSuchPlugin(reference)
            return found
        try:
            parsed = parse_reference(reference)
        except Malformed as error:
            raise NoSuchPlugin(reference) from error
        found = None if parsed.digest else self.named(parsed.with_default_tag().familiar)
        if found is not None:
            return found
        matching = [plugin for plugin in self.all() if plugin.id.startswith(reference)]
        if len(matching) > 1:
            raise Malformed("", f'multiple plugins found for "{reference}"', "Give more of the id")
        if not matching:
            raise NoSuchPlugin(reference)
        return matching[0]

    @contextmanager
    def locked(self, reference: str) -> Iterator[Plugin]:
        """The plugin as it is now, while nobody else changes it."""
        plugin_id = self.find(reference).id
        with self._locks.hold([plugin_id]):
            found = self.get(plugin_id)
            if found is None:
                raise NoSuchPlugin(reference)
            yield found

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """While a plugin of that name is made. Raises Conflict where there is one."""
        with self._locks.hold([f"name {name}"]):
            if self.named(name) is not None:
                raise Conflict("", f"plugin {name} already exists", f"Remove it first: docker plugin rm {name}")
            yield

    def save(self, plugin: Plugin) -> None:
        self._journal.commit(self.change(plugin))
        self.remember(plugin)

    def note(self, plugin: Plugin) -> None:
        """What a crash may lose: it is found out again."""
        self._journal.note(self.change(plugin))
        with self._guard:
            self._plugins[plugin.id] = plugin

    def change(self, plugin: Plugin) -> Change:
        return Put("plugins", plugin.id, plugin)

    def drop(self, plugin_id: str) -> Change:
        return Drop("plugins", plugin_id)

    def remember(self, plugin: Plugin) -> None:
        """The change is in the journal."""
        with self._guard:
            self._plugins[plugin.id] = plugin
        try:
            self._write_beside(plugin)
        except OSError as error:
            log.warning("the record of plugin %s beside its files stays as it was: %s", plugin.name, error)

    def forget(self, plugin_id: str) -> None:
        with self._guard:
            self._plugins.pop(plugin_id, None)

    def _write_beside(self, plugin: Plugin) -> None:
        bare = without_process(replace(plugin, enabled=False))
        write_durably(self._data_root.plugin(plugin.id) / _RECORD, msgspec.json.encode(bare))

    def adopt_unknown(self) -> Sequence[str]:
        """At start: folders of plugins that no record speaks of, as after `orlop recover`, become plugins again,
        disabled. Returns what was done, in words."""
        found: list[str] = []
        for path in sorted(self._data_root.plugins.glob(f"*/{_RECORD}")):
            if path.parent.name in self._plugins or not _FULL_ID.fullmatch(path.parent.name):
                continue
            try:
                plugin = msgspec.json.decode(path.read_bytes(), type=Plugin)
                if plugin.id == path.parent.name and self.named(plugin.name) is None:
                    self.save(plugin)
                    found.append(f"plugin {plugin.name} was found without a record: it is there again, disabled")
            except (OSError, msgspec.MsgspecError, OrlopError) as error:
                log.warning("the plugin in %s is not usable: %s", path.parent, error)
        return found


def without_process(plugin: Plugin) -> Plugin:
    return replace(plugin, pid=0, supervisor_pid=0, supervisor_started=0)
