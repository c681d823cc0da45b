"""Images: a configuration and the layers below it.

Terms as in the OCI image specification: a *diff id* is the SHA-256 of a layer's uncompressed tar, a *chain id* that
of a stack of layers; an image's id is the SHA-256 of its configuration's bytes. All are written "sha256:<64 hex>".
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field

from orlop.model.value import dataclass

MAX_LAYERS = 125


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about the containers made from it (OCI image spec, config.config)."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    user: str = ""
    workdir: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    healthcheck: str = ""  # JSON as found; kept for inspect and save


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the daemon remembers it. `raw_config` is the exact JSON its id is the digest of."""

    id: str
    raw_config: str
    diff_ids: tuple[str, ...]
    size_bytes: int
    created: str  # RFC 3339, as the image says
    loaded_at_ns: int
    parent: str = ""
    comment: str = ""
    is_hidden: bool = False  # removed by force while containers stand on its layers; goes with the last of them

    @property
    def chain_ids(self) -> tuple[str, ...]:
        return chain_ids(self.diff_ids)


@dataclass(frozen=True, slots=True)
class Layer:
    """A read-only layer as the daemon remembers it; `id` is the driver's name for it. Kept under its chain id."""

    chain_id: str
    diff_id: str
    parent: str  # chain id, "" for a base layer
    id: str
    size_bytes: int
    tar_bytes: int  # length of its tar, which `save` must announce before it is written


@dataclass(frozen=True, slots=True)
class Tag:
    """A name that points at an image. `reference` is the full familiar form with tag, e.g. "busybox:latest"."""

    reference: str
    image_id: str


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chain id of each layer, bottom first: that of the lowest is its diff id, each next one the digest of
    "<chain below> <diff id>" (OCI image spec, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        if not chain:
            chain.append(diff_id)
        else:
            chain.append("sha256:" + hashlib.sha256(f"{chain[-1]} {diff_id}".encode()).hexdigest())
    return tuple(chain)
