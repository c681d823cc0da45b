"""How each step of what is done to managed plugins is done and undone."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.plugin_content import PluginContent
from orlop.engine.plugin_places import PluginPlaces
from orlop.engine.plugin_processes import PluginProcesses
from orlop.engine.plugin_records import NoSuchPlugin, PluginRecords, without_process
from orlop.errors import OrlopError
from orlop.model.plugin import Plugin
from orlop.planning import plugins as plans
from orlop.planning.plan import Plan, Step
from orlop.store.files import remove_tree, sync_directory
from orlop.store.journal import Change
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)


class PluginSteps:
    """Callers hold the plugin's lock."""

    def __init__(
        self,
        records: PluginRecords,
        content: PluginContent,
        places: PluginPlaces,
        processes: PluginProcesses,
        data_root: DataRoot,
    ) -> None:
        self._records = records
        self._content = content
        self._places = places
        self._processes = processes
        self._data_root = data_root
        self._guard = threading.Lock()
        self._started: dict[str, Plugin] = {}

    def register(self, executor: Executor) -> None:
        bringing = {
            plans.STORE: StepActions(self._store),
            plans.PLACE: StepActions(self._place, self._take_back),
        }
        for name in (plans.CREATE, plans.UPGRADE):
            executor.register(OperationKind(name, bringing, after_crash="undo"))
        starting = {plans.START: StepActions(self._start, self._end)}
        executor.register(OperationKind(plans.ENABLE, starting, after_crash="undo"))
        stopping = {plans.STOP: StepActions(self._stop)}
        executor.register(OperationKind(plans.DISABLE, stopping, after_crash="finish", outcome=self._disabled))
        removing = {plans.RELEASE: StepActions(self._release), plans.PUT_AWAY: StepActions(self._put_away)}
        executor.register(OperationKind(plans.REMOVE, removing, after_crash="finish", outcome=self._removed))

    def take_started(self, plugin_id: str) -> Plugin:
        """As START left it."""
        with self._guard:
            return self._started.pop(plugin_id)

    # Content

    def _store(self, step: Step) -> None:
        self._content.store(Path(step.arguments["staging"]))

    def _place(self, step: Step) -> None:
        home = self._places.home(step.subject)
        home.mkdir(mode=0o700, exist_ok=True)
        target = self._places.rootfs_of(step.subject, int(step.arguments["version"]))
        (Path(step.arguments["staging"]) / "tree").rename(target)
        target.chmod(0o755)
        sync_directory(home)
        sync_directory(home.parent)

    def _take_back(self, step: Step) -> None:
        """Only this version: of a plugin that was there before, all else stays."""
        home = self._places.home(step.subject)
        remove_tree(self._places.rootfs_of(step.subject, int(step.arguments["version"])))
        if home.is_dir() and not any(home.iterdir()):
            home.rmdir()

    # Processes

    def _start(self, step: Step) -> None:
        plugin = self._records.get(step.subject)
        if plugin is None:
            raise NoSuchPlugin(step.subject)
        started = self._processes.start(plugin)
        with self._guard:
            self._started[plugin.id] = started

    def _end(self, step: Step) -> None:
        with self._guard:
            self._started.pop(step.subject, None)
        self._processes.stop(step.subject)
        self._places.release(step.subject)

    def _stop(self, step: Step) -> None:
        self._processes.stop(step.subject)
        if not step.arguments.get("keep-mounts"):
            self._places.release(step.subject)

    def _disabled(self, plan: Plan) -> Sequence[Change]:
        plugin = self._records.get(plan.steps[0].subject)
        if plugin is None:
            return ()
        disabled = without_process(replace(plugin, enabled=False))
        self._records.remember(disabled)
        return [self._records.change(disabled)]

    # The end

    def _release(self, step: Step) -> None:
        self._places.release(step.subject)

    def _put_away(self, step: Step) -> None:
        """Out of sight at once, under another name. Deleting takes its time, and goes on after a crash."""
        home, kept = self._places.home(step.subject), step.arguments["kept-as"]
        if kept:
            self._data_root.kept_plugins.mkdir(mode=0o700, exist_ok=True)
            target = self._data_root.kept_plugins / kept
        else:
            target = home.with_name(f".removing-{step.subject}")
        if home.exists():
            home.rename(target)
            sync_directory(home.parent)
        if not kept:
            remove_tree(target)
        else:
            log.warning("what plugin %s had of volumes is kept in %s", kept, target)
        sockets = self._places.sockets(step.subject)
        remove_tree(sockets)

    def replaced(self, old: Plugin, keep: bool) -> None:
        """After an upgrade: the root file system of the version before, in which there may be data of volumes."""
        tree = self._places.rootfs(old)
        try:
            if keep and tree.exists():
                self._data_root.kept_plugins.mkdir(mode=0o700, exist_ok=True)
                target = self._data_root.kept_plugins / f"{old.id[:12]}-{tree.name}"
                tree.rename(target)
                log.info("volumes of plugin %s are known: its former root file system is kept in %s", old.name, target)
            elif not keep:
                remove_tree(tree)
        except (OrlopError, OSError) as error:
            log.warning("the former root file system of plugin %s stays in %s: %s", old.name, tree, error)

    def tidy(self, plugins: Sequence[Plugin]) -> list[str]:
        """At start: delete what was being deleted. What nobody knows otherwise is left alone: it may be data."""
        reports: list[str] = []
        for path in self._data_root.plugins.glob(".removing-*"):
            try:
                remove_tree(path)
                reports.append(f"deleted {path}")
            except (OrlopError, OSError) as error:
                log.warning("deleting %s: %s", path, error)
        for plugin in plugins:
            for tree in self._places.home(plugin.id).glob("rootfs.*"):
                if tree != self._places.rootfs(plugin):
                    self.replaced(replace(plugin, version=int(tree.suffix[1:])), keep=True)
        return reports

    def _removed(self, plan: Plan) -> Sequence[Change]:
        plugin_id = plan.steps[0].subject
        self._records.forget(plugin_id)
        return [self._records.drop(plugin_id)]
