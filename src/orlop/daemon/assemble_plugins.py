"""The part of the composition root that puts managed plugins together."""

import functools
from collections.abc import Callable
from pathlib import Path

from orlop.drivers.registries.driver import Registry
from orlop.drivers.runtimes.driver import Runtime
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.plugin_content import PluginContent
from orlop.engine.plugin_drivers import PluginDrivers
from orlop.engine.plugin_places import PluginPlaces
from orlop.engine.plugin_processes import PluginProcesses
from orlop.engine.plugin_records import PluginRecords
from orlop.engine.plugin_steps import PluginSteps
from orlop.engine.plugin_transfer import PluginTransfer
from orlop.engine.plugins import Plugins
from orlop.engine.secrets import Secrets
from orlop.model.value import dataclass
from orlop.store.journal import Journal
from orlop.store.paths import DataRoot, ExecRoot


@dataclass(frozen=True, slots=True)
class Managed:
    plugins: Plugins
    drivers: PluginDrivers


def manage_plugins(
    make_runtime: Callable[[Path], Runtime],
    registry: Registry,
    data_root: DataRoot,
    exec_root: ExecRoot,
    journal: Journal,
    executor: Executor,
    events: Events,
    secrets: Secrets,
) -> Managed:
    root = exec_root.managed / "runtime"

    @functools.cache
    def runtime() -> Runtime:
        """Looked for when a plugin is to run: most hosts have none."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return make_runtime(root)

    records = PluginRecords(journal, data_root)
    places = PluginPlaces(data_root, exec_root)
    content = PluginContent(data_root, records.all)
    processes = PluginProcesses(places, runtime, secrets.resolve, root, secrets.redactor.hide)
    steps = PluginSteps(records, content, places, processes, data_root)
    plugins = Plugins(records, content, PluginTransfer(registry, content), processes, steps, executor, events)
    secrets.others = lambda: [(f"plugin {each.name}", dict(each.settings.variables)) for each in records.all()]
    return Managed(plugins, PluginDrivers(records, processes, places))
