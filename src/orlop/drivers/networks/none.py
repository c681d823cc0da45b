"""No network: the runtime makes a namespace with nothing but a loopback, and it ends with the container."""

import secrets
from collections.abc import Sequence

from orlop.model.network import Network, NetworkAttachment


class NoneDriver:
    """Also the ground of `host`: a network that the kernel or the runtime provides, where joining is only noted."""

    name = "none"
    _sandbox = ""

    def __init__(self) -> None:
        self._network = Network(self.name, "", self.name, 0)
        self._attached: dict[str, NetworkAttachment] = {}

    def open(self, remembered: Network) -> Network:
        self._network = remembered
        return remembered

    def network(self) -> Network:
        return self._network

    def join(self, container_id: str, mac_address: str = "") -> NetworkAttachment:
        fresh = NetworkAttachment(self.name, self._network.id, secrets.token_hex(32), self._sandbox)
        return self._attached.setdefault(container_id, fresh)

    def leave(self, container_id: str) -> None:
        self._attached.pop(container_id, None)

    def restore(self, attachments: Sequence[tuple[str, NetworkAttachment]]) -> None:
        self._attached = dict(attachments)

    def list_attached(self) -> Sequence[str]:
        return sorted(self._attached)

    def close(self) -> None:
        """Nothing to let go of."""
