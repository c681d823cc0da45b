"""Docker's own archive format: manifest.json names, for each image, its configuration, its tags and its layers.

    manifest.json   [{"Config": path, "RepoTags": [name] or null, "Layers": [path, bottom first]}]

Paths are what the writer liked: `<id>.json` and `<id>/layer.tar` once, `blobs/sha256/<digest>` since Docker 25.
"""

import hashlib
import re
from collections.abc import Sequence

from orlop.engine.image_archive import ArchivedImage, ImageArchive
from orlop.engine.image_making import check_depth
from orlop.errors import Malformed, Unsupported
from orlop.model.image_config import Fields, parse_config_file, parse_json
from orlop.model.reference import parse_reference

MANIFEST = "manifest.json"

_NAMED_BY_DIGEST = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")
_BLOB = re.compile("blobs/sha256/([0-9a-f]{64})")


def read_docker_archive(archive: ImageArchive) -> Sequence[ArchivedImage]:
    items = parse_json(archive.read(MANIFEST), MANIFEST)
    if not isinstance(items, list):
        raise Malformed("invalid archive", f"{MANIFEST} is not a list of images")
    return [_read_image(archive, Fields(item, f"{MANIFEST}[{index}]")) for index, item in enumerate(items)]


def check_layer_count(what: str, layers: int, diff_ids: int) -> None:
    if layers != diff_ids:
        raise Malformed(what, f"invalid manifest, layers length mismatch: expected {diff_ids}, got {layers}")
    check_depth(layers)


def check_os(what: str, os: str) -> None:
    if os not in ("", "linux"):
        raise Unsupported(what, f"cannot load {os} image on linux")


def parse_tag(name: str) -> str:
    """The familiar and complete form. Raises Malformed."""
    try:
        reference = parse_reference(name)
    except Malformed as error:
        raise Malformed(f"invalid tag {name!r}", error.message) from error
    if reference.digest:
        raise Malformed(f"invalid tag {name!r}", "a tag has no digest")
    return reference.with_default_tag().familiar


def _read_image(archive: ImageArchive, entry: Fields) -> ArchivedImage:
    name = entry.text("Config")
    if not name:
        raise Malformed(entry.what, "Config is missing")
    raw = archive.read(name)
    digest = hashlib.sha256(raw).hexdigest()
    promised = _NAMED_BY_DIGEST.fullmatch(name)
    if promised and promised[1] != digest:
        raise Malformed(name, f"its content has the digest sha256:{digest}")
    file = parse_config_file(raw, name)
    check_os(name, file.os)
    layers = entry.texts("Layers") or ()
    check_layer_count(name, len(layers), len(file.diff_ids))
    located = []
    for path, diff_id in zip(layers, file.diff_ids, strict=True):
        blob = _BLOB.fullmatch(path)
        located.append(
            archive.locate_blob(f"sha256:{blob[1]}", None, path, known_by=diff_id) if blob else archive.locate(path)
        )
    tags = tuple(sorted({parse_tag(tag) for tag in entry.texts("RepoTags") or ()}))
    return ArchivedImage(f"sha256:{digest}", raw.decode(), file, tuple(located), tags)
