"""Events: what happened, told to whoever listens (`docker events`)."""

from collections.abc import Mapping
from dataclasses import field

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    kind: str  # container, image, volume, network, daemon
    action: str  # create, start, die, ...
    subject: str  # id of a container or image, name of a volume
    at_ns: int
    attributes: Mapping[str, str] = field(default_factory=dict)
