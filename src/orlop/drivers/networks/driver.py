"""What a network driver is.

Life of an attachment: `join` before the container's process is created -> `leave` when it has stopped. Joining twice
with the same container id gives the same answer; leaving twice is success. `list_attached` tells after a restart who
is in, and `restore` is told which attachments the journal believes in, so that no address is handed out twice.

Errors. Unavailable when no address is free, HostFailure for the kernel, Unsupported when the host lacks the ability.
"""

from collections.abc import Sequence
from typing import Protocol

from orlop.model.network import Network, NetworkAttachment


class NetworkDriver(Protocol):
    @property
    def name(self) -> str:
        """bridge, host, none."""

    def network(self) -> Network: ...

    def join(self, container_id: str, hostname: str, mac_address: str = "") -> NetworkAttachment: ...

    def leave(self, container_id: str) -> None: ...

    def restore(self, attachments: Sequence[tuple[str, NetworkAttachment]]) -> None:
        """At start: these containers (id, attachment) still run; everything else of ours is left over and removed."""

    def list_attached(self) -> Sequence[str]: ...

    def close(self) -> None:
        """The daemon stops; running containers keep their network."""
