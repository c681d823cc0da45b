"""A volume on its way from one host of a cluster to another.

    wished --target--> ready --source--> committed --target--> arrived --source--> (gone)
       |                 |
       +--target--> refused, or gone: either side gave up

Up to `committed` the volume is the source's, and either side may end the move. From `committed` on it is the target's,
and nobody can: whoever was away meanwhile finishes its part when it is back. Only the source commits. Each change of
state is a transaction that insists on the one before, of the same attempt, so whoever gives up knows that the other
cannot have gone on. A node that is taken out of the cluster for good ends its moves; without the target a committed
one as well, for until the target has said `arrived` the source has all of it, and keeps it then.
"""

from enum import StrEnum

from orlop.model.value import dataclass
from orlop.model.volume import Volume


class MoveState(StrEnum):
    WISHED = "wished"
    READY = "ready"  # the target listens
    REFUSED = "refused"
    COMMITTED = "committed"
    ARRIVED = "arrived"


@dataclass(frozen=True, slots=True)
class Move:
    """What both hosts know of it. Certificates are made for this one attempt; their keys never leave their host."""

    volume: Volume  # as it is to be at the target; ids are the same everywhere
    attempt: str  # another one each time it is tried
    source: str  # names of nodes
    target: str
    source_certificate: str
    size_bytes: int = -1  # that it takes on a disk, about; -1: not known
    state: MoveState = MoveState.WISHED
    address: str = ""  # where the target listens
    port: int = 0
    target_certificate: str = ""
    why: str = ""  # it was refused


@dataclass(frozen=True, slots=True)
class Departure:
    """The source's own note of a volume that is about to leave it, or did."""

    volume: Volume
    attempt: str
    target: str
    stopped: tuple[str, ...] = ()  # ids of containers that were stopped for it
    is_sent: bool = False  # from here on the cluster's word counts: it may be the target's
    left_at_ns: int = 0  # it was retired here; 0: not yet
    copy_id: str = ""  # of what was retired
    containers: tuple[str, ...] = ()  # ids of those that were left without it
    is_replaced: bool = False  # somebody made another one of that name here, and said so


@dataclass(frozen=True, slots=True)
class Arrival:
    """The target's own note of a volume that is being filled out of sight."""

    move: Move
    token: str  # the driver's, see Filling
