"""What a managed plugin came as: its configuration, its packed layers and a manifest, kept by digest so that it can be
pushed; and its root file system, unpacked from them.

    <data-root>/orlop/incoming/plugin-<random>/    where it is put together: blobs/<hex>, tree/
    <data-root>/plugins/blobs/<hex>                owner: this module; what no record names is deleted

An archive is a stranger's: it is unpacked confined to a directory, as images' layers are.
"""

import gzip
import hashlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from orlop import __version__
from orlop.archive.pack import PackOptions
from orlop.archive.unpack import Options, Whiteouts
from orlop.archive.worker import pack_aside, unpack_aside
from orlop.drivers.registries.driver import Descriptor, Manifest
from orlop.errors import HostFailure, Malformed, NotFound
from orlop.kernel.filesystems import syncfs
from orlop.kernel.openat2 import open_beneath
from orlop.model.image_config import Fields, parse_json
from orlop.model.plugin import Plugin, PluginConfig
from orlop.model.plugin_config import parse_plugin_config, render_plugin_config
from orlop.model.value import dataclass
from orlop.store.files import remove_tree, sync_directory
from orlop.store.paths import DataRoot

CONFIG_TYPE = "application/vnd.docker.plugin.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
LONGEST_CONFIG = 1 << 20
_CONFIG_FILE, _ROOTFS = "config.json", "rootfs"
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Content:
    """Of one version of a plugin, put together in `staging`."""

    staging: Path
    config: PluginConfig
    config_digest: str
    layers: tuple[str, ...]
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class PluginManifest:
    """What a registry says that a plugin consists of."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_plugin_manifest(manifest: Manifest, subject: str) -> PluginManifest:
    """Raises Malformed, also for an image, which a registry may have under that name."""
    root = Fields(parse_json(manifest.raw, subject), subject)
    config = _descriptor(root.object("config"))
    if config.media_type != CONFIG_TYPE:
        why = f"it is no plugin: its configuration is of the type {config.media_type or 'unknown'}"
        raise Malformed(subject, why, "An image is run, not installed")
    if config.size > LONGEST_CONFIG:
        raise Malformed(subject, f"its configuration is said to have {config.size} bytes")
    return PluginManifest(config, tuple(_descriptor(each) for each in root.objects("layers")))


def _descriptor(fields: Fields) -> Descriptor:
    digest = fields.text("digest")
    if not _DIGEST.fullmatch(digest):
        raise Malformed(fields.what, f"{digest!r} is no digest")
    return Descriptor(fields.text("mediaType"), digest, fields.number("size"))


def render_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _shown(config),
        "layers": [_shown(layer) for layer in layers],
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return Manifest(MANIFEST_TYPE, f"sha256:{hashlib.sha256(raw).hexdigest()}", raw)


def _shown(blob: Descriptor) -> dict[str, object]:
    return {"mediaType": blob.media_type, "size": blob.size, "digest": blob.digest}


class PluginContent:
    """Thread-safe."""

    def __init__(self, data_root: DataRoot, plugins: Callable[[], Sequence[Plugin]]) -> None:
        self._data_root = data_root
        self._plugins = plugins
        self._blobs = threading.Lock()  # held while they are taken in or thrown away: renames, no waiting

    # Putting together

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A directory of its own for as long as the block runs."""
        place = self._data_root.incoming / f"plugin-{secrets.token_hex(8)}"
        (place / "blobs").mkdir(mode=0o700, parents=True)
        try:
            yield place
        finally:
            remove_tree(place)

    def from_context(self, archive: Path, staging: Path) -> Content:
        """`archive`: a tar of config.json and rootfs/, as `docker plugin create` sends it. Raises Malformed."""
        context = staging / "context"
        context.mkdir(mode=0o700)
        _unpack(archive, context, Options())
        root = os.open(context, _DIRECTORY)
        try:
            raw = _read_config(root)
            parse_plugin_config(raw)  # before the long work
            _require_rootfs(root)
        finally:
            os.close(root)
        (context / _ROOTFS).rename(staging / "tree")
        layer, diff_id = _pack(staging)
        raw = render_plugin_config(raw, [diff_id], f"orlop {__version__}")
        config = _keep(staging, raw, CONFIG_TYPE)
        manifest = render_manifest(config, [layer])
        _keep(staging, manifest.raw, MANIFEST_TYPE)
        return self._complete(
            staging, Content(staging, parse_plugin_config(raw), config.digest, (layer.digest,), manifest.digest)
        )

    def from_blobs(self, manifest: Manifest, found: PluginManifest, staging: Path) -> Content:
        """The blobs that `found` names are in `staging`, and have been verified."""
        blobs = staging / "blobs"
        (staging / "tree").mkdir(mode=0o755)
        for layer in found.layers:
            _unpack(blobs / layer.digest.removeprefix("sha256:"), staging / "tree", Options(Whiteouts.APPLY))
        _keep(staging, manifest.raw, manifest.media_type)
        config = parse_plugin_config((blobs / found.config.digest.removeprefix("sha256:")).read_bytes())
        layers = tuple(layer.digest for layer in found.layers)
        return self._complete(staging, Content(staging, config, found.config.digest, layers, manifest.digest))

    def _complete(self, staging: Path, content: Content) -> Content:
        fd = os.open(staging, _DIRECTORY)
        try:
            syncfs(fd)
        finally:
            os.close(fd)
        return content

    # Blobs

    def blob(self, digest: str) -> Path:
        """Raises NotFound."""
        found = self._data_root.plugin_blobs / digest.removeprefix("sha256:")
        if not digest or not found.is_file():
            raise NotFound(f"blob {digest}", "it is not here any more", "Install or create the plugin again")
        return found

    def reuse(self, digest: str, staging: Path) -> bool:
        """Whether it is here from before; then it is in `staging`, too."""
        name = digest.removeprefix("sha256:")
        try:
            (staging / "blobs" / name).hardlink_to(self._data_root.plugin_blobs / name)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def taking_in(self) -> Iterator[None]:
        """While blobs are stored and their record is not written yet, nobody throws them away."""
        with self._blobs:
            yield

    def store(self, staging: Path) -> None:
        """Within `taking_in`. What is there already stays: it has that digest, too."""
        place = self._data_root.plugin_blobs
        self._data_root.plugins.mkdir(mode=0o710, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        for blob in (staging / "blobs").iterdir():
            blob.rename(place / blob.name)
        sync_directory(place)

    def collect(self) -> None:
        """Delete what no plugin needs."""
        with self._blobs:
            needed = {digest.removeprefix("sha256:") for plugin in self._plugins() for digest in _digests(plugin)}
            place = self._data_root.plugin_blobs
            for blob in place.iterdir() if place.is_dir() else ():
                if blob.name not in needed:
                    blob.unlink()

    def describe(self, digest: str, media_type: str) -> Descriptor:
        return Descriptor(media_type, digest, self.blob(digest).stat().st_size)

    def manifest(self, plugin: Plugin) -> tuple[Manifest, list[Descriptor]]:
        """What it is pushed as: just what it came as, where that is known; with all blobs that it names."""
        raw = self.blob(plugin.manifest_digest).read_bytes()
        media_type = Fields(parse_json(raw, "manifest"), "manifest").text("mediaType") or MANIFEST_TYPE
        manifest = Manifest(media_type, plugin.manifest_digest, raw)
        found = parse_plugin_manifest(manifest, f"plugin {plugin.name}")
        return manifest, [*found.layers, found.config]


def _digests(plugin: Plugin) -> tuple[str, ...]:
    return (plugin.config_digest, plugin.manifest_digest, *plugin.layers)


def _unpack(archive: Path, target: Path, options: Options) -> None:
    source, root = os.open(archive, os.O_RDONLY | os.O_CLOEXEC), os.open(target, _DIRECTORY)
    try:
        unpack_aside(source, b"", root, options)
    except OSError as error:
        raise HostFailure("unpacking a plugin", error.strerror or str(error)) from error
    finally:
        os.close(source)
        os.close(root)


def _read_config(root: int) -> bytes:
    try:
        fd = open_beneath(root, _CONFIG_FILE, os.O_RDONLY | os.O_NONBLOCK, no_symlinks=True)
    except OSError as error:
        raise Malformed("", "config not found", f"There must be a file {_CONFIG_FILE} beside {_ROOTFS}/") from error
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Malformed(_CONFIG_FILE, "it is no file")
        raw = file.read(LONGEST_CONFIG + 1)
    if len(raw) > LONGEST_CONFIG:
        raise Malformed(_CONFIG_FILE, f"it is larger than {LONGEST_CONFIG >> 20} MiB")
    return raw


def _require_rootfs(root: int) -> None:
    try:
        os.close(open_beneath(root, _ROOTFS, os.O_PATH | os.O_DIRECTORY, no_symlinks=True))
    except OSError as error:
        raise Malformed("", "no rootfs found", f"There must be a directory {_ROOTFS} beside {_CONFIG_FILE}") from error


def _keep(staging: Path, raw: bytes, media_type: str) -> Descriptor:
    name = hashlib.sha256(raw).hexdigest()
    (staging / "blobs" / name).write_bytes(raw)
    return Descriptor(media_type, f"sha256:{name}", len(raw))


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _Hashed:
    """A file that is written, and the digest of what is."""

    def __init__(self, file: _Writable) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""


def _pack(staging: Path) -> tuple[Descriptor, str]:
    """The tree as a packed layer, and the digest of the plain one."""
    packed = staging / "layer"
    with packed.open("xb") as file:
        outer = _Hashed(file)
        with gzip.GzipFile("", "wb", 6, cast(BinaryIO, outer), 0) as zipped:
            inner = _Hashed(zipped)
            pack_aside(staging / "tree", cast(BinaryIO, inner), PackOptions())
    name = outer.sha256.hexdigest()
    packed.rename(staging / "blobs" / name)
    return Descriptor(LAYER_TYPE, f"sha256:{name}", outer.size), f"sha256:{inner.sha256.hexdigest()}"
