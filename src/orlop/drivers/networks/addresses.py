"""Which subnet a bridge gets and which address a container gets. Pure: the facts come from the caller."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from orlop.errors import Unavailable


def default_subnets() -> Iterator[IPv4Network]:
    """Docker's own pools, in its order: 172.17/16 to 172.31/16, then 192.168.0.0/16 in pieces of 4096 addresses."""
    for second in range(17, 32):
        yield IPv4Network((f"172.{second}.0.0", 16))
    yield from IPv4Network("192.168.0.0/16").subnets(new_prefix=20)


def choose_subnet(taken: Iterable[IPv4Network], preferred: IPv4Network | None = None) -> IPv4Network:
    """The preferred one if it is free, else the first of the pools that overlaps nothing that the host routes to.
    Raises Unavailable."""
    in_use = list(taken)
    candidates = [preferred] if preferred else []
    for subnet in (*candidates, *default_subnets()):
        if not any(subnet.overlaps(other) for other in in_use):
            return subnet
    raise Unavailable(
        "network bridge",
        "every default subnet clashes with a route of this host",
        "Choose one with --bip ADDRESS/LENGTH",
    )


def gateway_of(subnet: IPv4Network) -> IPv4Interface:
    """The bridge's own address: the first of the subnet."""
    return IPv4Interface((subnet.network_address + 1, subnet.prefixlen))


def mac_address_of(address: IPv4Address) -> str:
    """A hardware address that follows from the IP address, in the range for local use: whoever gets the address
    later has the same one, so no neighbour table goes stale."""
    return b"\x02\x42".hex(":") + ":" + address.packed.hex(":")


class AddressPool:
    """The addresses of one subnet. Not thread-safe: its owner holds a lock."""

    def __init__(self, gateway: IPv4Interface) -> None:
        self.gateway = gateway
        network = gateway.network
        self._first = int(network.network_address) + 1
        self._last = int(network.broadcast_address) - 1
        self._taken: set[int] = {int(gateway.ip)}
        self._lowest_free = self._first  # nothing below is free

    def take(self) -> IPv4Address:
        """The first free one. Raises Unavailable."""
        candidate = self._lowest_free
        while candidate in self._taken:
            candidate += 1
        if candidate > self._last:
            raise Unavailable(
                f"network {self.gateway.network}",
                f"no address is free: {len(self._taken) - 1} containers have one",
                "Remove containers or choose a larger subnet with --bip ADDRESS/LENGTH",
            )
        self._taken.add(candidate)
        self._lowest_free = candidate + 1
        return IPv4Address(candidate)

    def claim(self, address: IPv4Address) -> None:
        """It is in use since before: not handed out again. Outside of the subnet is nothing to us."""
        if self._first <= int(address) <= self._last:
            self._taken.add(int(address))

    def free(self, address: IPv4Address) -> None:
        """Free already is success. The gateway is never free."""
        if address != self.gateway.ip and int(address) in self._taken:
            self._taken.discard(int(address))
            self._lowest_free = min(self._lowest_free, int(address))
