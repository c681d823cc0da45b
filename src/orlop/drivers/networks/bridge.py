"""A bridge on the host, each container in a network namespace of its own at the end of a veth pair.

    <exec-root>/netns/<container id>   a mount that holds the container's namespace; owner: this driver
    interface <bridge>                 made at the first join, gone at close when nobody is in
    interfaces veth<11 hex>            ports of the bridge, named from the endpoint id
    nft table orlop-<bridge>           see firewall

Leaving only lets go of the namespace. The kernel then takes it and its veth apart in the background, many at once in
30 ms, where deleting a veth by request takes that long for each. Until the veth is gone its address stays taken.
"""

import errno
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from orlop.drivers.networks import beside_docker, firewall
from orlop.drivers.networks.addresses import AddressPool, choose_subnet, gateway_of, mac_address_of
from orlop.errors import Conflict, HostFailure, Malformed, OrlopError, Unavailable, Unsupported
from orlop.kernel import rtnetlink
from orlop.kernel.namespaces import (
    create_network_namespace,
    network_namespace_lock,
    remove_network_namespace,
)
from orlop.kernel.netlink import RouteSocket
from orlop.model.network import Network, NetworkAttachment, parse_mac_address

log = logging.getLogger(__name__)

CONTAINER_INTERFACE = "eth0"
_BRIDGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # what the kernel takes and nft reads unquoted
_GROUP = 0x6F726C70  # "orlp": the interface group that marks a bridge as made here
_LOOPBACK_INDEX = 1
_SETTLING_SECONDS = 0.5


class BridgeDriver:
    """`gateway` fixes the bridge's address and subnet; without it the subnet remembered, or else the first default
    one that this host does not use, is taken at the first join."""

    name = "bridge"

    def __init__(self, bridge: str, namespaces: Path, gateway: IPv4Interface | None = None, mtu: int = 1500) -> None:
        if not _BRIDGE_NAME.fullmatch(bridge):
            raise Malformed(f"bridge name {bridge!r}", "up to 15 letters, digits and any of . - _ are wanted")
        self._bridge = bridge
        self._namespaces = namespaces
        self._fixed_gateway = gateway
        self._mtu = mtu
        self._lock = threading.Lock()  # the fields below; never held during I/O
        self._setup = threading.Lock()  # making and removing the bridge
        self._network = Network(self.name, "", self.name, 0, bridge=bridge)
        self._pool: AddressPool | None = None
        self._attached: dict[str, NetworkAttachment] = {}
        self._leaving: dict[str, IPv4Address] = {}  # veth -> the address it still has
        self._ready = False

    def open(self, remembered: Network) -> Network:
        gateway = self._fixed_gateway
        if gateway is None and remembered.subnet:
            gateway = gateway_of(IPv4Network(remembered.subnet))
        if gateway is None:
            try:
                with RouteSocket() as route:
                    gateway = gateway_of(self._choose_subnet(route, None))
            except (OrlopError, OSError) as error:
                log.warning("network %s: %s", self.name, error)  # told again to whoever joins
        with self._lock:
            self._network = replace(remembered, bridge=self._bridge)
            if gateway:
                self._use(gateway)
            return self._network

    def network(self) -> Network:
        return self._network

    def list_attached(self) -> Sequence[str]:
        with self._lock:
            return sorted(self._attached)

    def join(self, container_id: str, mac_address: str = "") -> NetworkAttachment:
        with self._lock:
            known = self._attached.get(container_id)
        if known:
            return known
        chosen_mac = parse_mac_address(mac_address) if mac_address else ""
        with _saying_what_is_missing(), RouteSocket() as route:
            master = self._ensure_bridge(route)
            address = self._take_address(route)
            attachment = self._describe(container_id, address, chosen_mac)
            pin = self._namespaces / container_id
            try:
                self._connect(route, master, attachment, pin)
            except BaseException:
                with self._lock:
                    self._leaving[_veth(attachment)] = address.ip
                _let_go(pin)
                raise
        with self._lock:
            self._attached[container_id] = attachment
        return attachment

    def leave(self, container_id: str) -> None:
        remove_network_namespace(self._namespaces / container_id)
        with self._lock:
            attachment = self._attached.pop(container_id, None)
            if attachment:
                self._leaving[_veth(attachment)] = IPv4Address(attachment.address)

    def restore(self, attachments: Sequence[tuple[str, NetworkAttachment]]) -> None:
        with self._lock:
            self._attached = dict(attachments)
            for _, attachment in attachments:
                # What runs decides: a subnet newly set takes effect once nobody is in the old one.
                gateway = IPv4Interface((attachment.gateway, attachment.prefix_length))
                if self._pool is None or self._pool.gateway != gateway:
                    log.warning("network %s stays on %s while containers run in it", self.name, gateway.network)
                    self._use(gateway)
                self._claim(attachment)
        self._remove_leftovers({container_id for container_id, _ in attachments})
        if attachments:
            with RouteSocket() as route:
                self._ensure_bridge(route)
        elif Path("/sys/class/net", self._bridge).exists():
            self._remove_bridge()  # left by a daemon that was killed, and everyone in it has ended since

    def close(self) -> None:
        """With nobody in, nothing of ours stays on the host, whichever daemon made it; the next join makes it again."""
        with self._setup:
            with self._lock:
                if self._attached:
                    return
                self._ready = False
            self._remove_bridge()

    def remove(self) -> None:
        """Everything of ours on this host, whoever still uses it: for uninstalling."""
        with self._lock:
            self._attached.clear()
        self._remove_leftovers(set())
        with self._setup:
            self._ready = False
            self._remove_bridge()

    # The bridge

    def _ensure_bridge(self, route: RouteSocket) -> int:
        """The bridge's interface index; it, its address and its rules are made if they are not there."""
        link = rtnetlink.find_link(route, self._bridge)
        if link and self._ready:
            return link.index
        with self._setup:
            link = rtnetlink.find_link(route, self._bridge)
            if link and self._ready:
                return link.index
            if link and not _is_ours(link):
                why = "exists and was not made by Orlop"
                hint = f"Choose another name with --bridge, or remove it (ip link delete {self._bridge})"
                raise Conflict(f"interface {self._bridge}", why, hint)
            with network_namespace_lock():
                index, gateway = self._make_bridge(route)
            firewall.install(self._bridge, gateway.network)
            beside_docker.let_out(self._bridge, _uplinks(route))
            self._ready = True
            return index

    def _make_bridge(self, route: RouteSocket) -> tuple[int, IPv4Interface]:
        with self._lock:
            gateway = self._pool.gateway if self._pool else None
            may_change = not self._attached and not self._fixed_gateway
        if gateway is None or may_change:
            gateway = gateway_of(self._choose_subnet(route, gateway.network if gateway else None))
        route.batch(rtnetlink.add_bridge(self._bridge, mac_address_of(gateway.ip), _GROUP))
        link = rtnetlink.find_link(route, self._bridge)
        if link is None:
            raise HostFailure(f"bridge {self._bridge}", "it disappeared while it was being made")
        stale = [
            rtnetlink.remove_address(index, address)
            for index, address in rtnetlink.list_addresses(route)
            if index == link.index and address != gateway
        ]
        route.batch(*stale, rtnetlink.add_address(link.index, gateway), rtnetlink.set_up(link.index))
        with self._lock:
            if self._pool is None or self._pool.gateway != gateway:
                self._use(gateway)
        return link.index, gateway

    def _choose_subnet(self, route: RouteSocket, preferred: IPv4Network | None) -> IPv4Network:
        own = rtnetlink.find_link(route, self._bridge)
        own_index = own.index if own else -1
        routes = rtnetlink.list_routes(route)
        taken = [network for index, network in routes if index != own_index and network.prefixlen]
        taken += [address.network for index, address in rtnetlink.list_addresses(route) if index != own_index]
        return choose_subnet(taken, preferred)

    def _claim(self, attachment: NetworkAttachment) -> None:
        assert self._pool is not None
        self._pool.claim(IPv4Address(attachment.address))

    def _use(self, gateway: IPv4Interface) -> None:
        self._pool = AddressPool(gateway)
        self._network = replace(self._network, subnet=str(gateway.network), gateway=str(gateway.ip))

    def _remove_bridge(self) -> None:
        with RouteSocket() as route:
            link = rtnetlink.find_link(route, self._bridge)
            if link is None or not _is_ours(link):
                return
            beside_docker.forget(self._bridge)
            firewall.uninstall(self._bridge)  # before: as long as the interface is there, the rules are looked for
            route.batch(rtnetlink.remove_link(self._bridge))
        with self._lock:
            leaving, self._leaving = self._leaving, {}
            if self._pool:
                for address in leaving.values():
                    self._pool.free(address)

    # Addresses

    def _take_address(self, route: RouteSocket) -> IPv4Interface:
        deadline = time.monotonic() + _SETTLING_SECONDS
        while True:
            self._settle(route)
            with self._lock:
                assert self._pool is not None
                try:
                    return IPv4Interface((self._pool.take(), self._pool.gateway.network.prefixlen))
                except Unavailable:
                    if not self._leaving:
                        raise
            # Somebody who has left still holds one: the kernel is about to free it, and if it does not (a process
            # kept the namespace), the veth is cut.
            if time.monotonic() > deadline:
                route.batch(*(rtnetlink.remove_link(name) for name in list(self._leaving)))
            time.sleep(0.005)

    def _settle(self, route: RouteSocket) -> None:
        """Addresses of veths that are gone are free."""
        with self._lock:
            names = list(self._leaving)
        gone = [name for name in names if rtnetlink.find_link(route, name) is None]
        with self._lock:
            for name in gone:
                address = self._leaving.pop(name, None)
                if address and self._pool:
                    self._pool.free(address)

    # One container's place

    def _describe(self, container_id: str, address: IPv4Interface, mac_address: str) -> NetworkAttachment:
        network = self._network
        return NetworkAttachment(
            network=network.name,
            network_id=network.id,
            endpoint_id=secrets.token_hex(32),
            sandbox_path=str(self._namespaces / container_id),
            address=str(address.ip),
            prefix_length=address.network.prefixlen,
            gateway=network.gateway,
            mac_address=mac_address or mac_address_of(address.ip),
        )

    def _connect(self, route: RouteSocket, master: int, attachment: NetworkAttachment, pin: Path) -> None:
        self._namespaces.mkdir(mode=0o711, parents=True, exist_ok=True)
        remove_network_namespace(pin)  # of a join that a crash cut off
        with create_network_namespace(pin) as inside:
            fd = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
            try:
                route.batch(
                    rtnetlink.add_veth(
                        _veth(attachment), master, CONTAINER_INTERFACE, attachment.mac_address, fd, self._mtu
                    )
                )
            finally:
                os.close(fd)
            interface = rtnetlink.find_link(inside, CONTAINER_INTERFACE)
            if interface is None:
                raise HostFailure(f"network {self.name}", f"{CONTAINER_INTERFACE} did not appear in its namespace")
            address = IPv4Interface((attachment.address, attachment.prefix_length))
            inside.batch(
                rtnetlink.set_up(_LOOPBACK_INDEX),
                rtnetlink.set_up(interface.index),
                rtnetlink.add_address(interface.index, address),
                rtnetlink.add_default_route(interface.index, IPv4Address(attachment.gateway)),
            )

    def _remove_leftovers(self, container_ids: set[str]) -> None:
        """Namespaces in our folder and veths on our bridge that belong to none of these."""
        if self._namespaces.is_dir():
            for pin in self._namespaces.iterdir():
                if pin.name not in container_ids:
                    remove_network_namespace(pin)
        with self._lock:
            ours = {_veth(attachment) for attachment in self._attached.values()}
        with RouteSocket() as route:
            link = rtnetlink.find_link(route, self._bridge)
            if link is None or not _is_ours(link):
                return
            ports = [each for each in rtnetlink.list_links(route) if each.master == link.index and each.kind == "veth"]
            route.batch(*(rtnetlink.remove_link(port.name) for port in ports if port.name not in ours))


@contextmanager
def _saying_what_is_missing() -> Iterator[None]:
    """The kernel's "no" in words that help."""
    try:
        yield
    except OSError as error:
        hint = {
            errno.EOPNOTSUPP: "Load the kernel modules bridge and veth, or use --network host or none",
            errno.EPERM: "Run the daemon as root with all capabilities, or use --network host or none",
        }.get(error.errno or 0)
        if hint is None:
            raise
        raise Unsupported("network bridge", error.strerror or str(error), hint) from error


def _let_go(pin: Path) -> None:
    """While another error is on its way, which this must not hide; the next start tries again."""
    try:
        remove_network_namespace(pin)
    except OSError as error:
        log.error("removing network namespace %s: %s", pin, error)


def _uplinks(route: RouteSocket) -> list[str]:
    """Names of the interfaces that default routes lead to."""
    indexes = {index for index, network in rtnetlink.list_routes(route) if not network.prefixlen}
    return sorted(link.name for link in rtnetlink.list_links(route) if link.index in indexes)


def _is_ours(link: rtnetlink.Link) -> bool:
    return link.kind == "bridge" and link.group == _GROUP


def _veth(attachment: NetworkAttachment) -> str:
    return f"veth{attachment.endpoint_id[:11]}"
