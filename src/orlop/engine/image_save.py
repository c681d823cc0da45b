"""`docker save`: an OCI image layout in a tar that is also readable as Docker's own format.

    oci-layout, index.json               the layout's entry; names stand in the annotations
    manifest.json, repositories          the same for readers of the older format
    blobs/sha256/<digest>                configurations, manifests, uncompressed layers

Nothing is written to disk on the way: small files are made in memory, a layer's tar is streamed out of the driver,
byte for byte as it came in. The same images give the same bytes.
"""

import fcntl
import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import field
from typing import Any

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.image_catalogue import Catalogue
from orlop.errors import HostFailure, Malformed
from orlop.model.image import Image, Layer
from orlop.model.reference import is_image_id, parse_reference
from orlop.model.value import dataclass
from orlop.store.paths import DataRoot

_CHUNK_BYTES = 1 << 20
_BLOCK = 512
_LAYOUT = {"imageLayoutVersion": "1.0.0"}
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(slots=True)
class _Wanted:
    image: Image
    references: list[str] = field(default_factory=list)


class Saving:
    def __init__(self, catalogue: Catalogue, driver: LayerDriver, data_root: DataRoot) -> None:
        self._catalogue = catalogue
        self._driver = driver
        self._data_root = data_root

    def save(self, references: Sequence[str]) -> Iterator[bytes]:
        if not references:
            raise Malformed("", "no image was named", "Name at least one image to save")
        chunks = self._chunks(self._choose(references))
        next(chunks)  # takes the holds, so that an image that has just gone is noticed before the first byte
        return chunks

    def _choose(self, references: Sequence[str]) -> Sequence[_Wanted]:
        """The images in the order named; a bare repository name stands for all its tags, an id for no name."""
        wanted: dict[str, _Wanted] = {}
        for text in references:
            names = [] if is_image_id(text) else self._names(text)
            for name in names or [text]:
                image = self._catalogue.find(name)
                entry = wanted.setdefault(image.id, _Wanted(image))
                entry.references += [name] if name in names and name not in entry.references else []
        return list(wanted.values())

    def _names(self, text: str) -> list[str]:
        reference = parse_reference(text)
        if reference.tag or reference.digest:
            return [reference.familiar] if self._catalogue.tag(reference.familiar) else []
        tags = [tag.reference for tag in self._catalogue.tags()]
        return sorted(tag for tag in tags if parse_reference(tag).familiar_name == reference.familiar_name)

    def _chunks(self, wanted: Sequence[_Wanted]) -> Iterator[bytes]:
        with ExitStack() as held:
            for item in wanted:
                held.enter_context(self._catalogue.hold(item.image.id))
            yield b""
            layers = {item.image.id: self._layers(item.image) for item in wanted}
            files, blobs = _papers(wanted, layers)
            for name, data in files.items():
                yield _member(name, data)
            yield _directory("blobs/") + _directory("blobs/sha256/")
            for digest in sorted(blobs):
                blob, name = blobs[digest], f"blobs/sha256/{digest.removeprefix('sha256:')}"
                if isinstance(blob, bytes):
                    yield _member(name, blob)
                else:
                    yield _header(name, blob.tar_bytes)
                    yield from self._layer_tar(blob)
                    yield bytes(-blob.tar_bytes % _BLOCK)
            yield bytes(2 * _BLOCK)

    def _layers(self, image: Image) -> Sequence[Layer]:
        found = [self._catalogue.layer(chain) for chain in image.chain_ids]
        layers = [layer for layer in found if layer]
        assert len(layers) == len(found)
        return layers

    def _layer_tar(self, layer: Layer) -> Iterator[bytes]:
        """The driver writes into a pipe from a thread of its own; when the reader stops, the pipe ends it."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        failures: list[BaseException] = []
        thread = threading.Thread(target=self._write, args=(layer, writer, failures), name="save", daemon=True)
        with suppress(OSError):  # the allowance of pipe pages may be used up: smaller pieces do
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
        thread.start()
        count = 0
        try:
            while data := os.read(reader, _CHUNK_BYTES):
                count += len(data)
                if count > layer.tar_bytes:
                    break
                yield data
        finally:
            os.close(reader)
            thread.join()
        if count == layer.tar_bytes and not failures:
            return
        what = f"layer {layer.diff_id}"
        if not failures or count > layer.tar_bytes:
            raise HostFailure(what, f"its tar has {count} bytes, not the {layer.tar_bytes} it came with")
        if isinstance(failures[0], OSError):
            raise HostFailure(what, str(failures[0])) from failures[0]
        raise failures[0]

    def _write(self, layer: Layer, writer: int, failures: list[BaseException]) -> None:
        try:
            with open(writer, "wb", buffering=0) as out:
                self._driver.write_tar(layer.id, self._data_root.recipes / layer.id, out)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that reads
            failures.append(error)


def _papers(
    wanted: Sequence[_Wanted], layers: dict[str, Sequence[Layer]]
) -> tuple[dict[str, bytes], dict[str, bytes | Layer]]:
    """The files at the top, and all blobs by digest."""
    blobs: dict[str, bytes | Layer] = {}
    index: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for item in wanted:
        stack = layers[item.image.id]
        manifest = _manifest(item.image, stack)
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        blobs |= {item.image.id: item.image.raw_config.encode(), digest: manifest}
        blobs |= {layer.diff_id: layer for layer in stack}
        descriptor = _descriptor(_MANIFEST_TYPE, digest, len(manifest))
        index += [descriptor | {"annotations": _annotations(name)} for name in item.references] or [descriptor]
        entries.append(_docker_entry(item, stack))
        top = (stack[-1].diff_id if stack else item.image.id).removeprefix("sha256:")
        for reference in map(parse_reference, item.references):
            repositories.setdefault(reference.familiar_name, {})[reference.tag] = top
    files = {
        "oci-layout": _json(_LAYOUT),
        "index.json": _json({"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": index}),
        "manifest.json": _json(entries),
    }
    return files | ({"repositories": _json(repositories)} if repositories else {}), blobs


def _manifest(image: Image, stack: Sequence[Layer]) -> bytes:
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": _descriptor(_CONFIG_TYPE, image.id, len(image.raw_config.encode())),
            "layers": [_descriptor(_LAYER_TYPE, layer.diff_id, layer.tar_bytes) for layer in stack],
        }
    )


def _docker_entry(item: _Wanted, stack: Sequence[Layer]) -> dict[str, Any]:
    """The image in manifest.json."""
    sources = [_descriptor(_LAYER_TYPE, layer.diff_id, layer.tar_bytes) for layer in stack]
    return {
        "Config": _path(item.image.id),
        "RepoTags": item.references or None,
        "Layers": [_path(layer.diff_id) for layer in stack],
        "LayerSources": {source["digest"]: source for source in sources},
    }


def _annotations(name: str) -> dict[str, str]:
    reference = parse_reference(name)
    return {
        "io.containerd.image.name": reference.canonical,
        "org.opencontainers.image.ref.name": reference.tag,
    }


def _descriptor(media_type: str, digest: str, size_bytes: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size_bytes}


def _path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _header(name: str, size_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member.tobuf(tarfile.GNU_FORMAT)


def _directory(name: str) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member.tobuf(tarfile.GNU_FORMAT)


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % _BLOCK)
