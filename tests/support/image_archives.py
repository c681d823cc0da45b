"""Image archives made by hand, right ones and wrong ones: what tools write, and what an attacker would."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@dataclass
class ImageParts:
    """The pieces of an image; a test bends one of them and packs them all the same."""

    layers: list[bytes]  # uncompressed tars, bottom first
    config: dict[str, Any] = field(default_factory=dict)
    created: str = "2026-01-02T03:04:05Z"
    os: str = "linux"
    architecture: str = "amd64"
    diff_ids: list[str] | None = None

    @property
    def raw_config(self) -> bytes:
        diff_ids = [sha256(layer) for layer in self.layers] if self.diff_ids is None else self.diff_ids
        document = {
            "architecture": self.architecture,
            "os": self.os,
            "created": self.created,
            "config": self.config,
            "history": [{"created": self.created, "created_by": f"step {index}"} for index in range(len(self.layers))],
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        return json.dumps(document, indent=1).encode()  # not as we would write it: the bytes must be kept

    @property
    def id(self) -> str:
        return sha256(self.raw_config)


Files = dict[str, bytes]


def docker_files(images: Sequence[tuple[ImageParts, Sequence[str]]]) -> Files:
    """As `docker save` of today."""
    files: Files = {}
    manifest = []
    for parts, tags in images:
        files[blob_path(parts.id)] = parts.raw_config
        files.update({blob_path(sha256(layer)): layer for layer in parts.layers})
        layers = [blob_path(sha256(layer)) for layer in parts.layers]
        manifest.append({"Config": blob_path(parts.id), "RepoTags": list(tags) or None, "Layers": layers})
    return {"manifest.json": json.dumps(manifest).encode(), **files}


def oci_files(
    images: Sequence[tuple[ImageParts, str]], compression: str = "", annotation: str = "io.containerd.image.name"
) -> Files:
    files: Files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    index = []
    for parts, name in images:
        manifest, blobs = oci_manifest(parts, compression)
        files.update({blob_path(sha256(blob)): blob for blob in (manifest, *blobs)})
        descriptor = oci_descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
        index.append(descriptor | ({"annotations": {annotation: name}} if name else {}))
    return {**files, "index.json": json.dumps({"schemaVersion": 2, "manifests": index}).encode()}


def oci_manifest(parts: ImageParts, compression: str = "") -> tuple[bytes, list[bytes]]:
    packed = [PACKERS[compression](layer) for layer in parts.layers]
    suffix = f"+{compression}" if compression else ""
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": oci_descriptor("application/vnd.oci.image.config.v1+json", parts.raw_config),
        "layers": [oci_descriptor(f"application/vnd.oci.image.layer.v1.tar{suffix}", layer) for layer in packed],
    }
    return json.dumps(document).encode(), [parts.raw_config, *packed]


def oci_descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def blob_path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


@dataclass
class Link:
    target: str
    type: bytes = tarfile.SYMTYPE


def write_archive(path: Path, files: Mapping[str, bytes | Link] | Sequence[tuple[str, bytes | Link]]) -> Path:
    """A sequence may name a member twice."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            member = tarfile.TarInfo(name)
            if isinstance(content, Link):
                member.type, member.linkname = content.type, content.target
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def read_archive(data: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            member.name: extracted.read()
            for member in tar
            if member.isfile() and (extracted := tar.extractfile(member))
        }
