"""What the engine asks of the cluster: one catalogue of global volumes, who uses them where, and
one writer.

Words: see model/cluster.py. One host alone has no cluster and asks nothing of this.

**Reading costs nothing.** Every node keeps a copy of what the cluster agreed on, kept fresh by a watch. Whatever
reads answers from the copy, in microseconds, whether the cluster's store answers or not; `warnings` says how old it
is.

**Writing asks the store**, with compare-and-set, within a deadline: Unavailable (503) at once when it is known to be
away. What was answered is durable. A call whose answer was lost may be repeated: the same wish gives the same answer.

**Life of a global volume.** `publish` (one create wins, whichever host; the same wish twice is one volume, another
wish Conflict naming the host) -> every node sees it in `volumes()` and makes its own driver know it when it is first
meant there -> `withdraw` (refused while another host uses it). A volume that is gone from the catalogue is forgotten
by each node; its bytes are where they were: only a purge destroys, on the node that retired it.

**One writer.** `acquire` gives write access under a lease with an epoch. The lease is renewed for as long as the node
is well. Time is counted from before the renewal was sent, by a clock that goes on while the host is suspended
(CLOCK_BOOTTIME). `on_lost` is called well before the lease may end elsewhere: whoever is called has frozen the
containers and torn the storage down when it returns. Only then, or when the lease has run out, may another node have
it. What a node writes to since before it joined hangs on no leash: such a volume is published as *bound* to that node,
and nobody acquires it before that one has let go of it.
"""

import socket
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orlop.model.cluster import GlobalUse, GlobalVolume, Node, Writer
from orlop.model.volume_move import Move


class Line(Protocol):
    """To the other node of a move. Nobody else is at its other end."""

    @property
    def stream(self) -> socket.socket:
        """For whoever has something to say to the other side, in this process or another."""

    @property
    def failure(self) -> str:
        """Why it broke; "" while it has not."""

    def vouch(self, counted: Callable[[], str]) -> None:
        """Tell the other side from time to time that this one gets on: as long as `counted` says something else."""

    def counted(self) -> str:
        """Changes as long as something goes over it, or the other side says that it gets on."""

    def close(self) -> None:
        """Once all is said."""

    def cut(self) -> None:
        """At once."""


class Door(Protocol):
    """Where one peer is awaited."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...

    def accept(self, seconds: float) -> Line:
        """Raises Unavailable when it does not come, or the door was closed."""

    def close(self) -> None: ...


class End(Protocol):
    """One side of one move."""

    @property
    def certificate(self) -> str:
        """For the other side, made for this one move."""

    def listen(self, peer_certificate: str) -> Door:
        """At a port that is free. Raises HostFailure, Unavailable."""

    def dial(self, move: Move) -> Line:
        """Raises Unavailable."""


class Moves(Protocol):
    """Volumes on their way to another node (model/volume_move.py). Thread-safe; all that ask the store raise
    Unavailable."""

    def known(self) -> Sequence[Move]:
        """From the copy."""

    def look(self, volume_id: str) -> Move | None:
        """As the store has it now."""

    def post(self, move: Move) -> None:
        """Raises Conflict where the volume is on its way already, NotFound for a target that is no node, Unavailable
        for one that is not alive."""

    def advance(self, old: Move, new: Move) -> bool:
        """False where something else stands there than `old` (or `new`, which is success): it was ended."""

    def call_off(self, move: Move) -> bool:
        """End this attempt, in whatever state it is by now. True: it is ended, was not committed, and no commit of it
        that is under way can count any more. False: it is committed."""

    def finish(self, move: Move) -> None:
        """It has arrived, and both sides are done."""

    def make_end(self, name: str) -> End: ...


class Cluster(Protocol):
    """Thread-safe."""

    @property
    def node(self) -> str:
        """This host's name in the cluster."""

    # From the copy

    @property
    def version(self) -> Hashable:
        """Of what `volumes`, `find` and `warnings` say: while it stays equal, so do they."""

    def volumes(self) -> Sequence[GlobalVolume]:
        """By name."""

    def find(self, name: str) -> GlobalVolume | None: ...

    def uses(self, volume_id: str) -> Sequence[GlobalUse]:
        """On all nodes."""

    def writer(self, volume_id: str) -> Writer | None: ...

    def nodes(self) -> Sequence[Node]:
        """All that ever joined and did not leave, by name."""

    @property
    def is_current(self) -> bool:
        """Whether the store is there, so that what the catalogue does not name is not in it."""

    def warnings(self) -> Sequence[str]:
        """For listings: since when the store has been away, so how old this is."""

    # With the store

    def publish(self, volume: GlobalVolume) -> GlobalVolume:
        """The volume of that name: this one, or the one that was there and is as wished. Raises Conflict naming the
        node of the one that is not, Unavailable."""

    def change(self, volume: GlobalVolume) -> None:
        """Other labels or options for the volume of that id. Raises NotFound, Unavailable."""

    def identify(self, volume: GlobalVolume, identity: str) -> str:
        """What the volume's storage is known by: the first that was told stands, on all hosts. Raises NotFound,
        Unavailable."""

    def unbind(self, volume: GlobalVolume) -> None:
        """Nothing writes to it without a lease any more: the node that it is `bound` to has let go of it, or is gone
        for good. Raises NotFound, Unavailable."""

    def reveal(self, volume: GlobalVolume) -> None:
        """What was `coming` has come: everybody may use it from now on. Raises NotFound, Unavailable."""

    def withdraw(self, volume: GlobalVolume) -> None:
        """Gone already is success. Raises Conflict naming node and container that use it elsewhere, Unavailable."""

    def begin_use(self, use: GlobalUse) -> None:
        """Durable before it returns. The same use again is success, and changes whether it runs. Raises NotFound when
        the volume is not in the catalogue any more, Unavailable, also of one that is coming from another node."""

    def end_use(self, volume_id: str, container_id: str) -> None:
        """Of this node. Never raises for a store that is away: it is told when the store is back."""

    def note_use(self, use: GlobalUse) -> None:
        """Whether it runs has changed; told in a moment, or when the store is back. Never raises."""

    def match_uses(self, own_uses: Callable[[], Sequence[GlobalUse]]) -> None:
        """After a start: all that this node uses, asked for once the store is there. Others of this node end."""

    def remove_node(self, name: str) -> None:
        """A node that is gone for good, and its uses. Raises NotFound, Conflict while it is alive, Unavailable."""

    def acquire(self, volume: GlobalVolume, containers: Sequence[str], wait_seconds: float = 0.0) -> Writer:
        """Write access for this node. Has it already is success. Raises Conflict saying who has it and since when,
        after `wait_seconds`; Unavailable."""

    def release(self, volume_id: str) -> None:
        """The storage is torn down: another node may have it. Nothing held is success. Never raises for a store that is
        away: the lease ends by itself."""

    def take_over(self, volume: GlobalVolume) -> Writer:
        """Write access for this node, whoever has it: the other is told to let go, and waited for until its lease has
        run out. Raises Unavailable."""

    def held(self) -> Mapping[str, Writer]:
        """What this node has write access to and is not about to lose, by the volume's id. After a start of the daemon
        that is what the one before it had, if its time is not over."""

    def leash(self, volume_id: str) -> Path | None:
        """A file that says until when what reaches the volume's storage may live (kernel/leash.py); None for what this
        node has no write access to."""

    # Volumes on their way

    @property
    def moves(self) -> Moves: ...

    def on_move(self, told: Callable[[str], None]) -> None:
        """Called with the id of each volume whose move changed or ended; in a thread of the cluster's: short, and never
        raising. What changed while the store was away is told when it is there again, but for what ended."""

    # What the engine is told

    def on_change(self, told: Callable[[str], None]) -> None:
        """Called with the name of each volume that was published, changed or withdrawn, and with "" when the store is
        there (again), so that anything may have changed; in a thread of the cluster's: short, and never raising."""

    def on_lost(self, told: Callable[[str], None]) -> None:
        """Called with the id of a volume whose write access this node is about to lose, see above; in a thread of its
        own. It may raise where the storage could not be torn down: then the time is waited for at which the kernel has
        ended what hangs on the leash."""
