"""What a network driver is.

Words. A *network* is what containers are attached to; each driver here offers one. An *attachment* is one container's
place in it; its *sandbox* is the network namespace that the container's processes run in.

Life of a driver: `open` with what was remembered -> `restore` with who still runs -> `join`/`leave` -> `close`.
Life of an attachment: `join` before the container's process is created -> `leave` when it has stopped.

Who calls. The engine, from its worker threads, for different containers at the same time. A repeated call with the
same wish is a success that changes nothing: joining twice with the same container id gives the same answer, leaving
twice is success. `list_attached` tells after a restart who is in, and `restore` is told which attachments the journal
believes in, so that no address is handed out twice. A driver touches nothing but its own interfaces, its own rules and
the namespaces that it made.

Errors. Malformed for a bad hardware address, Unavailable when no address is free, HostFailure for the kernel,
Unsupported when the host lacks the ability.
"""

from collections.abc import Sequence
from typing import Protocol

from orlop.model.network import Network, NetworkAttachment


class NetworkDriver(Protocol):
    @property
    def name(self) -> str:
        """bridge, host, none."""

    def open(self, remembered: Network) -> Network:
        """Called once, before anything else. `remembered` has id, name and, if it was open before, its subnet; the
        answer is what the network is now. Changes nothing on the host."""

    def network(self) -> Network:
        """As it is now: a subnet may have been chosen anew by a `join`."""

    def join(self, container_id: str, mac_address: str = "") -> NetworkAttachment: ...

    def leave(self, container_id: str) -> None: ...

    def restore(self, attachments: Sequence[tuple[str, NetworkAttachment]]) -> None:
        """At start: these containers (id, attachment) still run; everything else of ours is left over and removed."""

    def list_attached(self) -> Sequence[str]: ...

    def close(self) -> None:
        """The daemon stops; running containers keep their network."""
