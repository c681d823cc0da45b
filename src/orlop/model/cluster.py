"""Several hosts that share volumes: what they agree on.

A *node* is a host whose daemon joined the cluster. A *global volume* is one whose driver has global scope: all nodes
know it by one name. A *use* is one container's mount of it, wherever that runs. The *writer* of a volume that one
host at a time may write is a node, with an *epoch*: a number that grows with each change of hands and never comes
again.
"""

from collections.abc import Mapping
from enum import StrEnum

from orlop.model.value import dataclass

ACCESS = "access"  # the option that chooses among these


class Access(StrEnum):
    RWX = "rwx"  # every host reads and writes: the storage keeps them apart
    RWO = "rwo"  # one host at a time writes
    ROX = "rox"  # every host reads, none writes


@dataclass(frozen=True, slots=True)
class GlobalVolume:
    """The catalogue's record of a volume. Options name secrets (`secret://`) and never hold one."""

    name: str
    id: str  # the same on every host
    driver: str
    access: Access
    created_at_ns: int
    node: str  # where it was created
    labels: Mapping[str, str] | None = None
    options: Mapping[str, str] | None = None
    identity: str = ""  # of its storage, once a host has seen it: no host takes another one for it
    bound: str = ""  # access rwo: the node that has written to it since before it joined, without a lease
    coming: str = ""  # the node that is about to move a volume of its own to this storage: until then only its name

    @property
    def why_coming(self) -> str:
        """Why nobody but that node can use it yet."""
        return f"node {self.coming} is about to move it to storage that all hosts reach: until then nobody else has it"

    def is_as_wished(self, driver: str, options: Mapping[str, str] | None) -> bool:
        """Whether the same was asked for: nothing asked for is as wished."""
        return driver in ("", self.driver, self.driver.removesuffix(":latest")) and (
            not options or options == self.options
        )


@dataclass(frozen=True, slots=True)
class GlobalUse:
    """A container that holds a global volume; durable, as a hold on its own host is."""

    volume_id: str
    node: str
    container_id: str
    container: str  # its name, for people
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class Writer:
    """Who may write a volume of access `rwo`."""

    volume_id: str
    node: str
    epoch: int
    since_ns: int
    containers: tuple[str, ...] = ()  # their names, for people


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    version: str
    joined_at_ns: int
    is_alive: bool  # it renewed its membership in time
    is_self: bool = False
