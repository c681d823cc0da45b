"""Managed plugins from a registry and to one."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from orlop.drivers.registries.driver import Credentials, Descriptor, Manifest, Registry
from orlop.engine.plugin_content import Content, PluginContent, PluginManifest, parse_plugin_manifest
from orlop.model.plugin import Plugin, PluginConfig
from orlop.model.plugin_config import parse_plugin_config
from orlop.model.reference import Reference, parse_reference

# What is told of a transfer: of which blob ("" = of all), what is done, how much of it, of how much.
Report = Callable[[str, str, int, int], None]


class Offer:
    """What a registry has under a name: looked at, nothing fetched but the configuration."""

    def __init__(self, reference: Reference, manifest: Manifest, found: PluginManifest, raw_config: bytes) -> None:
        self.reference = reference
        self.manifest = manifest
        self.found = found
        self.raw_config = raw_config
        self.config: PluginConfig = parse_plugin_config(raw_config)


class PluginTransfer:
    def __init__(self, registry: Registry, content: PluginContent) -> None:
        self._registry = registry
        self._content = content

    def look(self, remote: str, credentials: Credentials) -> Offer:
        """Raises NotFound, Forbidden, Unavailable, Malformed."""
        reference = parse_reference(remote).with_default_tag()
        subject = f"plugin {reference.familiar}"
        manifest = self._registry.get_manifest(reference, credentials)
        found = parse_plugin_manifest(manifest, subject)
        with self._content.staging() as staging:
            target = staging / "config"
            self._registry.get_blob(reference, found.config, target, credentials)
            return Offer(reference, manifest, found, target.read_bytes())

    def fetch(self, offer: Offer, staging: Path, credentials: Credentials, report: Report) -> Content:
        """Everything of it, verified, and its root file system unpacked."""
        name = offer.reference.familiar_name
        report(offer.reference.tag or offer.reference.digest[:19], f"Pulling from {name}", 0, 0)
        config = staging / "blobs" / hashlib.sha256(offer.raw_config).hexdigest()
        config.write_bytes(offer.raw_config)
        for layer in dict.fromkeys(offer.found.layers):
            self._fetch_layer(offer.reference, layer, staging, credentials, report)
        content = self._content.from_blobs(offer.manifest, offer.found, staging)
        for layer in offer.found.layers:
            report(short(layer), "Pull complete", 0, 0)
        report("", f"Digest: {offer.manifest.digest}", 0, 0)
        return content

    def _fetch_layer(
        self, reference: Reference, layer: Descriptor, staging: Path, credentials: Credentials, report: Report
    ) -> None:
        if self._content.reuse(layer.digest, staging):
            report(short(layer), "Already exists", 0, 0)
            return
        target = staging / "blobs" / layer.digest.removeprefix("sha256:")
        told = _Rarely(lambda done, total: report(short(layer), "Downloading", done, total))
        self._registry.get_blob(reference, layer, target, credentials, told)
        report(short(layer), "Download complete", 0, 0)

    def push(self, plugin: Plugin, credentials: Credentials, report: Report) -> tuple[Reference, Manifest]:
        reference = parse_reference(plugin.name)
        manifest, blobs = self._content.manifest(plugin)
        report("", f"The push refers to repository [{reference.name}]", 0, 0)
        for blob in blobs:
            label = short(blob)
            report(label, "Preparing", 0, 0)
            told = _Rarely(lambda done, total, label=label: report(label, "Pushing", done, total))  # type: ignore[misc]
            sent = self._registry.put_blob(reference, blob, self._content.blob(blob.digest), credentials, told)
            report(label, "Pushed" if sent else "Layer already exists", 0, 0)
        self._registry.put_manifest(reference, manifest, credentials)
        return reference, manifest


class _Rarely:
    """Passes on each hundredth of the way, and the end."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self._tell = tell
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        if done >= total or done - self._told > total // 100:
            self._told = done
            self._tell(done, total)


def short(blob: Descriptor) -> str:
    return blob.digest.removeprefix("sha256:")[:12]
