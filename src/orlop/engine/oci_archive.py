"""An OCI image layout in a tar: index.json leads to indexes, manifests, configurations and layers, all by digest.

An index inside the index is one image built for several platforms: the manifest for this machine is taken. What
stands in index.json itself are different images, and all of them are taken, except that of several with the same
name only those for this machine count. Attestations (platform unknown/unknown) are no images.
"""

import hashlib
from collections.abc import Iterator, Sequence

from orlop.engine.docker_archive import check_layer_count, check_os, parse_tag
from orlop.engine.image_archive import ArchivedImage, ImageArchive
from orlop.engine.image_making import host_platform
from orlop.errors import Malformed, Unsupported
from orlop.model.image_config import Fields, parse_config_file, parse_json
from orlop.model.platform import Platform
from orlop.model.value import dataclass

INDEX = "index.json"

_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_MAX_NESTING = 8
_UNKNOWN = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class _Descriptor:
    media_type: str
    digest: str
    size_bytes: int
    platform: Platform | None
    name: str  # as the annotations give it


def read_oci_archive(archive: ImageArchive) -> Sequence[ArchivedImage]:
    return [
        _read_manifest(archive, _to_manifest(archive, descriptor), _name_of(descriptor.name))
        for descriptor in _top_level(_parse_index(archive.read(INDEX), INDEX))
    ]


def _parse_index(raw: bytes, what: str) -> list[_Descriptor]:
    return [_descriptor(item) for item in Fields(parse_json(raw, what), what).objects("manifests")]


def _descriptor(fields: Fields) -> _Descriptor:
    platform = None
    if fields.value("platform") is not None:
        words = fields.object("platform")
        platform = Platform(words.text("os"), words.text("architecture"), words.text("variant"))
    annotations = fields.text_map("annotations")
    name = annotations.get(_FULL_NAME) or annotations.get(_REF_NAME, "")
    return _Descriptor(fields.text("mediaType"), fields.text("digest"), fields.number("size"), platform, name)


def _top_level(descriptors: Sequence[_Descriptor]) -> Iterator[_Descriptor]:
    here = host_platform()
    images = [item for item in descriptors if item.platform != _UNKNOWN]
    for item in images:
        rivals = [other for other in images if other.name == item.name and other.platform]
        choice = [other for other in rivals if other.platform and here.runs(other.platform)]
        if item in choice or not choice:
            yield item


def _to_manifest(archive: ImageArchive, descriptor: _Descriptor) -> _Descriptor:
    """Through indexes down to the manifest for this machine."""
    here = host_platform()
    for _ in range(_MAX_NESTING):
        if descriptor.media_type not in _INDEX_TYPES:
            return descriptor
        raw = archive.read_blob(descriptor.digest, descriptor.size_bytes, "image index")
        inside = [item for item in _parse_index(raw, descriptor.digest) if item.platform != _UNKNOWN]
        fitting = [item for item in inside if item.platform is None or here.runs(item.platform)]
        if not fitting:
            found = ", ".join(sorted({str(item.platform) for item in inside})) or "none"
            raise Unsupported(
                f"image {descriptor.digest}", f"it has no manifest for {here}", f"It is made for: {found}"
            )
        descriptor = fitting[0]
    raise Malformed("image archive", f"its indexes are nested more than {_MAX_NESTING} deep")


def _read_manifest(archive: ImageArchive, descriptor: _Descriptor, references: tuple[str, ...]) -> ArchivedImage:
    if descriptor.media_type and descriptor.media_type not in _MANIFEST_TYPES:
        raise Malformed(f"manifest {descriptor.digest}", f"its media type is {descriptor.media_type!r}: no image")
    raw = archive.read_blob(descriptor.digest, descriptor.size_bytes, "image manifest")
    what = f"manifest {descriptor.digest}"
    manifest = Fields(parse_json(raw, what), what)
    config = _descriptor(manifest.object("config"))
    raw_config = archive.read_blob(config.digest, config.size_bytes, f"{what}: config")
    file = parse_config_file(raw_config, f"configuration {config.digest}")
    check_os(what, file.os)
    layers = [_descriptor(item) for item in manifest.objects("layers")]
    check_layer_count(what, len(layers), len(file.diff_ids))
    for layer in layers:
        if layer.media_type.endswith("+encrypted"):
            raise Unsupported(f"layer {layer.digest}", "it is encrypted", "Decrypt the image first")
    sources = tuple(
        archive.locate_blob(layer.digest, layer.size_bytes, f"{what}: layer", known_by=diff_id)
        for layer, diff_id in zip(layers, file.diff_ids, strict=True)
    )
    image_id = "sha256:" + hashlib.sha256(raw_config).hexdigest()
    return ArchivedImage(image_id, raw_config.decode(), file, sources, references)


def _name_of(annotation: str) -> tuple[str, ...]:
    """The specification means a tag by the ref name, tools write whole references into it; a lone "latest" is taken
    for what it says, any other word for a repository."""
    if annotation in ("", "latest"):
        return ()
    return (parse_tag(annotation),)
