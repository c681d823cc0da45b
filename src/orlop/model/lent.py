"""Volumes that other engines use: what is told of them, and their uses."""

from collections.abc import Mapping
from dataclasses import field

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class LentVolume:
    name: str
    mountpoint: str  # "" where nothing is to be seen before it is mounted
    created_at_ns: int
    is_mounted: bool = False
    status: Mapping[str, object] = field(default_factory=dict)  # for people


@dataclass(frozen=True, slots=True)
class LentUse:
    """A mount that an engine named by an id, and how often it mounted that."""

    volume: str
    id: str
    count: int
    doubtful: int = 0  # of these: mounts whose caller had gone before it was answered
    since_ns: int = 0  # the last mount
    device: str = ""  # of the volume's own mount, where it has one, when its mounts were promised
