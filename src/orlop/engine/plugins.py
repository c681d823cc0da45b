"""Managed plugins: made, installed, set, enabled, disabled, upgraded, pushed, removed.

A plugin's volumes are the volume service's: their records name the plugin by its whole name. Whatever happens to a
plugin, no volume's record changes; a plugin that is installed again under that name has them all again.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from orlop.drivers.registries.driver import Credentials
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.plugin_content import Content, PluginContent
from orlop.engine.plugin_processes import PluginProcesses
from orlop.engine.plugin_records import PluginRecords, without_process
from orlop.engine.plugin_steps import PluginSteps
from orlop.engine.plugin_transfer import Offer, PluginTransfer, Report
from orlop.errors import Conflict, Malformed, NotFound, OrlopError
from orlop.model.filters import Filters
from orlop.model.plugin import (
    Plugin,
    Privilege,
    carry_settings,
    change_settings,
    check_privileges,
    default_settings,
    required_privileges,
)
from orlop.model.reference import parse_reference
from orlop.planning import plugins as plans
from orlop.store.journal import Change

log = logging.getLogger(__name__)

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class Plugins:
    """Thread-safe: a lock a plugin."""

    def __init__(
        self,
        records: PluginRecords,
        content: PluginContent,
        transfer: PluginTransfer,
        processes: PluginProcesses,
        steps: PluginSteps,
        executor: Executor,
        events: Events,
    ) -> None:
        self._records = records
        self._content = content
        self._transfer = transfer
        self._processes = processes
        self._steps = steps
        self._executor = executor
        self._events = events
        steps.register(executor)
        processes.start_again = self._start_again
        # Set by the composition root: the names of volumes whose driver has that name; who remembers what a plugin's
        # process was told, which is of no use when that was ended.
        self.volumes_of: Callable[[str], Sequence[str]] = lambda name: ()
        self.ended: Callable[[str], None] = lambda plugin_id: None

    # Looking

    def find(self, reference: str) -> Plugin:
        return self._records.find(reference)

    def list_plugins(self, filters: Filters) -> Sequence[Plugin]:
        """Raises Malformed for a filter that is not known."""
        for key in filters:
            if key not in ("enabled", "capability"):
                raise Malformed("", f"invalid filter '{key}'")
        found: list[Plugin] = self._records.all()
        if wanted := filters.get("enabled"):
            if len(wanted) != 1 or wanted[0].lower() not in _TRUTHS:
                raise Malformed("", f"invalid filter 'enabled={list(wanted)}'", "It is true or false")
            found = [plugin for plugin in found if plugin.enabled is _TRUTHS[wanted[0].lower()]]
        if wanted := filters.get("capability"):
            found = [plugin for plugin in found if set(plugin.config.abilities) <= set(wanted)]
        return found

    def privileges(self, remote: str, credentials: Credentials) -> Sequence[Privilege]:
        """What a plugin in a registry asks for."""
        return required_privileges(self._transfer.look(remote, credentials).config)

    # Content

    def create(self, name: str, archive: Path) -> Plugin:
        """From a tar of config.json and rootfs/."""
        name = _local_name(name)
        with self._records.claimed(name), self._content.staging() as staging:
            plugin = self._make(name, name, self._content.from_context(archive, staging))
        self._emit(plugin, "create")
        return plugin

    def offer(self, remote: str, granted: Sequence[Privilege], credentials: Credentials) -> Offer:
        """What is going to be installed. Raises Forbidden where that needs other privileges than are granted."""
        offer = self._transfer.look(remote, credentials)
        check_privileges(f"plugin {offer.reference.familiar}", offer.config, granted)
        return offer

    def pull_name(self, offer_or_remote: str, name: str) -> str:
        """What a plugin from there is called here: `name`, where it is given."""
        if name:
            return _local_name(name)
        reference = parse_reference(offer_or_remote)
        return replace(reference, digest="").with_default_tag().familiar

    def pull(self, offer: Offer, name: str, credentials: Credentials, report: Report) -> Plugin:
        with self._records.claimed(name), self._content.staging() as staging:
            content = self._transfer.fetch(offer, staging, credentials, report)
            self._events.publish("plugin", "pull", offer.reference.familiar, {"name": name})
            plugin = self._make(name, offer.reference.canonical, content)
        report("", f"Status: Downloaded newer image for {offer.reference.familiar}", 0, 0)
        return plugin

    def _make(self, name: str, reference: str, content: Content) -> Plugin:
        plugin = Plugin(
            id=secrets.token_hex(32),
            name=name,
            reference=reference,
            config=content.config,
            settings=default_settings(content.config),
            config_digest=content.config_digest,
            layers=content.layers,
            manifest_digest=content.manifest_digest,
        )
        self._bring(plans.CREATE, plugin, content)
        return plugin

    def _bring(self, operation: str, plugin: Plugin, content: Content) -> None:
        def outcome() -> Sequence[Change]:
            return [self._records.change(plugin)]

        with self._content.taking_in():
            self._executor.run(plans.plan_content(operation, plugin, str(content.staging)), outcome)
            self._records.remember(plugin)
        self._content.collect()

    def upgrade(self, reference: str, offer: Offer, credentials: Credentials, report: Report) -> Plugin:
        """To another version, with the settings that its user made. Volumes stay its volumes."""
        with self._records.locked(reference) as plugin:
            self.require_disabled(plugin)
            with self._content.staging() as staging:
                content = self._transfer.fetch(offer, staging, credentials, report)
                self._events.publish("plugin", "pull", offer.reference.familiar, {"name": plugin.name})
                upgraded = replace(
                    plugin,
                    reference=offer.reference.canonical,
                    config=content.config,
                    settings=carry_settings(plugin.config, plugin.settings, content.config),
                    config_digest=content.config_digest,
                    layers=content.layers,
                    manifest_digest=content.manifest_digest,
                    version=plugin.version + 1,
                )
                self._bring(plans.UPGRADE, upgraded, content)
            self._steps.replaced(plugin, keep=bool(self.volumes_of(plugin.name)))
        return upgraded

    def require_disabled(self, plugin: Plugin) -> None:
        if plugin.enabled:
            subject = "plugin must be disabled before upgrading"
            raise Conflict(subject, f"plugin {plugin.name} is enabled", f"docker plugin disable {plugin.name}")

    def push(self, reference: str, credentials: Credentials, report: Report) -> tuple[str, str, int]:
        """Tag, digest and size of the manifest that it was pushed as."""
        with self._records.locked(reference) as plugin:
            pushed, manifest = self._transfer.push(plugin, credentials, report)
        return pushed.tag, manifest.digest, len(manifest.raw)

    def change_settings(self, reference: str, wishes: Sequence[str]) -> None:
        with self._records.locked(reference) as plugin:
            self._records.save(replace(plugin, settings=change_settings(plugin, wishes)))

    # Processes

    def enable(self, reference: str, timeout_seconds: int = 0) -> None:
        """`timeout_seconds` for each call to it; 0: the usual ones. Raises Conflict where it is enabled."""
        if timeout_seconds < 0:
            raise Malformed("", f"negative timeout {timeout_seconds} for plugin is not allowed")
        with self._records.locked(reference) as plugin:
            if plugin.enabled:
                raise Conflict("plugin already enabled", f"plugin {plugin.name} is enabled")
            enabled: list[Plugin] = []

            def outcome() -> Sequence[Change]:
                started = self._steps.take_started(plugin.id)
                enabled.append(replace(started, enabled=True, timeout_seconds=timeout_seconds))
                return [self._records.change(enabled[0])]

            self._executor.run(plans.plan_enable(plugin), outcome)
            self._records.remember(enabled[0])
        self._emit(plugin, "enable")

    def disable(self, reference: str, force: bool = False) -> None:
        """Raises Conflict where volumes of it are known, unless by force: then they cannot be used any more."""
        with self._records.locked(reference) as plugin:
            if not force:
                self._require_unused(plugin)
            if not plugin.enabled:
                raise Conflict("plugin is already disabled", f"plugin {plugin.name} found but disabled")
            self._disable(plugin)
        self._emit(plugin, "disable")

    def _disable(self, plugin: Plugin) -> None:
        disabled = without_process(replace(plugin, enabled=False))
        # A container that is just being started with a volume of it must not find the directory below.
        keep_mounts = bool(self.volumes_of(plugin.name))
        self._executor.run(plans.plan_disable(plugin, keep_mounts), lambda: [self._records.change(disabled)])
        self._records.remember(disabled)
        self.ended(plugin.id)

    def _require_unused(self, plugin: Plugin) -> None:
        if volumes := self.volumes_of(plugin.name):
            listed = ", ".join(volumes[:5]) + (", ..." if len(volumes) > 5 else "")
            raise Conflict("", f"plugin {plugin.name} is in use", f"Volumes of it: {listed}")

    def remove(self, reference: str, force: bool = False) -> None:
        """By force also one that is enabled or whose volumes are known: what may be their data is kept then."""
        with self._records.locked(reference) as plugin:
            if not force:
                self._require_unused(plugin)
                if plugin.enabled:
                    raise Conflict("", f"plugin {plugin.name} is enabled", f"docker plugin disable {plugin.name}")
            if plugin.enabled:
                self._disable(plugin)
            kept_as = _kept_name(plugin) if self.volumes_of(plugin.name) else ""
            gone = [self._records.drop(plugin.id)]
            self._executor.run(plans.plan_remove(plugin, kept_as), lambda: gone)
            self._records.forget(plugin.id)
            self.ended(plugin.id)
        self._content.collect()
        self._emit(plugin, "remove")

    def _start_again(self, plugin_id: str) -> None:
        """From a timer: a plugin that is enabled and whose process ended, or was never there since the host booted."""
        try:
            with self._records.locked(plugin_id) as plugin:
                if plugin.enabled and not self._processes.is_up(plugin_id):
                    self._records.save(self._processes.start(plugin))
                    log.info("plugin %s is up again", plugin.name)
        except NotFound as error:
            log.info("plugin %s is not started again: %s", plugin_id, error)
        except (OrlopError, OSError) as error:
            log.warning("plugin %s could not be started, and will be tried again: %s", plugin_id[:12], error)
            self._processes.start_later(plugin_id, error.why if isinstance(error, OrlopError) else str(error))

    # The daemon's start and end

    def recover(self) -> list[str]:
        """Before the API is served, after the intents of a crash: processes that live are ours again, all others go.
        Returns what was done, in words."""
        reports = list(self._records.adopt_unknown())
        alive = {plugin.id for plugin in self._records.all() if plugin.enabled and self._take_over(plugin)}
        for plugin_id in self._processes.left_behind():
            if plugin_id not in alive:
                self._stop(plugin_id)
        for plugin in self._records.all():
            if not plugin.enabled:
                self.ended(plugin.id)
        reports += self._steps.tidy(self._records.all())
        self._content.collect()
        return reports

    def _take_over(self, plugin: Plugin) -> bool:
        try:
            return self._processes.take_over(plugin)
        except OrlopError as error:
            log.error("taking over plugin %s: %s", plugin.name, error)
            return False

    def _stop(self, plugin_id: str) -> None:
        try:
            self._processes.stop(plugin_id)
        except (OrlopError, OSError) as error:
            log.error("what is left of plugin %s stays: %s", plugin_id[:12], error)

    def go_on(self) -> None:
        """Once the API is served: those that should be up and are not are started, all at the same time."""
        for plugin in self._records.all():
            if plugin.enabled and not self._processes.is_up(plugin.id):
                self._processes.start_later(plugin.id)

    def close(self) -> None:
        self._processes.close()

    def _emit(self, plugin: Plugin, action: str) -> None:
        self._events.publish("plugin", action, plugin.id, {"name": plugin.name})


def _local_name(name: str) -> str:
    reference = parse_reference(name)
    if reference.digest:
        raise Malformed("", "canonical references are not permitted", "Give a name, and a tag if you like")
    return reference.with_default_tag().familiar


def _kept_name(plugin: Plugin) -> str:
    return f"{plugin.name.replace('/', '_').replace(':', '_')}-{plugin.id[:12]}"
