"""Networks: bridge, host, none, and who is in them."""

from collections.abc import Sequence

from orlop.model.filters import Filters
from orlop.model.network import Network, NetworkAttachment


class Networks:
    def list_networks(self, filters: Filters) -> Sequence[Network]:
        raise NotImplementedError

    def get(self, reference: str) -> Network:
        """By name, id or unique id prefix."""
        raise NotImplementedError

    def join(self, network: str, container_id: str, hostname: str, mac_address: str = "") -> NetworkAttachment:
        raise NotImplementedError

    def leave(self, attachment: NetworkAttachment, container_id: str) -> None:
        raise NotImplementedError
