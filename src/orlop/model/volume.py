"""Volumes: data that outlives containers.

A volume's life: created -> (used by containers) -> retired -> purged, and back from retired by restore. Retiring
takes it out of sight and frees its name; only the purge of a retired volume destroys bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
DEFAULT_DRIVER = "local"


@dataclass(frozen=True, slots=True)
class Volume:
    name: str
    id: str  # 64 hex; stays when the name changes hands
    driver: str
    created_at_ns: int
    mountpoint: str  # host path, "" where the driver has none until it is mounted
    labels: Mapping[str, str] | None = None  # None and {} differ on the wire
    options: Mapping[str, str] | None = None
    scope: str = "local"

    @property
    def is_anonymous(self) -> bool:
        return ANONYMOUS_LABEL in (self.labels or {})


@dataclass(frozen=True, slots=True)
class RetiredVolume:
    """A removed volume that can still be restored, until `purge_at_ns`."""

    id: str
    volume: Volume
    retired_at_ns: int
    purge_at_ns: int
    reason: str = ""  # the call that removed it, for the listing


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A container's durable hold on a volume; taken at create, let go at remove. Kept under "<volume>/<container>"."""

    volume: str
    container_id: str


@dataclass(frozen=True, slots=True)
class PruneReport:
    removed: tuple[str, ...] = field(default_factory=tuple)
    reclaimed_bytes: int = 0
