"""What stands where in etcd, and how it is written there (JSON).

<prefix>cluster                            which cluster this is; made once, never changed
<prefix>volumes/<name>                     GlobalVolume
<prefix>uses/<volume id>/<node>/<container id>    GlobalUse
<prefix>nodes/<name>                       Membership; stays until the node leaves
<prefix>alive/<name>                       id of the node's daemon; under its lease
<prefix>writers/<volume id>                Writer; under a lease
<prefix>epochs/<volume id>                 the last epoch that was given
<prefix>wanted/<volume id>                 name of the node that takes it over; under that one's lease
<prefix>moves/<volume id>                  Move, from the wish until both nodes are done with it
"""

import re
from typing import TypeVar

import msgspec

from orlop.cluster.etcd import after
from orlop.errors import HostFailure, Malformed
from orlop.model.cluster import GlobalUse, GlobalVolume, Writer
from orlop.model.value import dataclass
from orlop.model.volume_move import Move

DEFAULT_PREFIX = "/orlop/"
_NODE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node says of itself."""

    name: str
    daemon: str  # id of its data root: two daemons are never one node
    version: str
    joined_at_ns: int


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: str = DEFAULT_PREFIX

    @property
    def cluster(self) -> str:
        return f"{self.prefix}cluster"

    @property
    def volumes(self) -> str:
        return f"{self.prefix}volumes/"

    @property
    def uses(self) -> str:
        return f"{self.prefix}uses/"

    @property
    def nodes(self) -> str:
        return f"{self.prefix}nodes/"

    @property
    def alive(self) -> str:
        return f"{self.prefix}alive/"

    @property
    def writers(self) -> str:
        return f"{self.prefix}writers/"

    @property
    def wanted(self) -> str:
        return f"{self.prefix}wanted/"

    @property
    def moves(self) -> str:
        return f"{self.prefix}moves/"

    def volume(self, name: str) -> str:
        return f"{self.volumes}{name}"

    def uses_of(self, volume_id: str, node: str = "") -> str:
        """What they begin with; of one node only where it is named."""
        return f"{self.uses}{volume_id}/{node}{'/' if node else ''}"

    def use(self, use: GlobalUse) -> str:
        return f"{self.uses_of(use.volume_id, use.node)}{use.container_id}"

    def uses_elsewhere(self, volume_id: str, node: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """The two ranges of keys before and after those of the node."""
        every, own = self.uses_of(volume_id), self.uses_of(volume_id, node)
        return (every, own), (after(own), after(every))

    def node(self, name: str) -> str:
        return f"{self.nodes}{name}"

    def alive_node(self, name: str) -> str:
        return f"{self.alive}{name}"

    def writer(self, volume_id: str) -> str:
        return f"{self.writers}{volume_id}"

    def epoch(self, volume_id: str) -> str:
        return f"{self.prefix}epochs/{volume_id}"

    def wish(self, volume_id: str) -> str:
        return f"{self.wanted}{volume_id}"

    def move(self, volume_id: str) -> str:
        return f"{self.moves}{volume_id}"


def check_node(name: str) -> str:
    """Raises Malformed."""
    if not _NODE.fullmatch(name):
        why = 'a name has up to 63 letters, digits, "_", "." and "-", and begins with a letter or a digit'
        raise Malformed(f"--node {name!r}", why, "For example its host name: --node $(hostname)")
    return name


def check_prefix(prefix: str) -> str:
    if not re.fullmatch(r"/([a-zA-Z0-9_.-]+/)+", prefix):
        raise Malformed(f"cluster-prefix {prefix!r}", "it begins and ends with a slash", f"The usual: {DEFAULT_PREFIX}")
    return prefix


Record = GlobalVolume | GlobalUse | Writer | Membership | Move


def render(record: Record) -> bytes:
    return msgspec.json.encode(record)


def parse(kind: type[T], key: str, value: bytes) -> T:
    """Raises HostFailure for what nobody of ours wrote."""
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        raise HostFailure(f"cluster: {key}", f"etcd holds what is no record of ours: {error}") from error
