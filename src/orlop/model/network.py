"""Networks and a container's place in them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    """What joining gave a container. Empty strings where the network has no such thing (host, none)."""

    network: str  # bridge, host, none
    network_id: str = ""
    endpoint_id: str = ""
    sandbox_path: str = ""  # path of the network namespace; "" = the runtime makes one, or the host's is used
    address: str = ""
    prefix_length: int = 0
    gateway: str = ""
    mac_address: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A network as the daemon offers it."""

    name: str
    id: str
    driver: str
    created_at_ns: int
    subnet: str = ""
    gateway: str = ""
    bridge: str = ""  # the host's interface
