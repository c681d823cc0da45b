"""Links, addresses and routes, as requests of rtnetlink(7) and as what its answers say."""

import socket
import struct
import sys
from errno import EEXIST, ENODEV
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from orlop.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Answer,
    Request,
    RouteSocket,
    attribute,
    nested,
    number,
    read_attributes,
    text,
)
from orlop.model.value import dataclass

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_GROUP, _IFLA_NET_NS_FD = 27, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15

IFF_UP = 1
_RT_TABLE_MAIN, _RT_TABLE_LOCAL = 254, 255
_RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 3, 0, 1

_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    kind: str  # bridge, veth, ...; "" for a physical one
    master: int  # index of the bridge it is a port of, 0 for none
    is_up: bool
    mac_address: str
    group: int = 0  # a number that whoever made it may give it


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, change)


def _mac(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def add_bridge(name: str, mac_address: str, group: int = 0) -> Request:
    """With its hardware address given, a bridge keeps it; otherwise it takes over the lowest of its ports', and the
    containers' neighbour tables go stale whenever one of them leaves."""
    payload = _link(flags=IFF_UP, change=IFF_UP) + text(_IFLA_IFNAME, name)
    payload += attribute(_IFLA_ADDRESS, _mac(mac_address)) + number(_IFLA_GROUP, group)
    payload += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
    return Request(f"create bridge {name}", _RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL, (EEXIST,))


def add_veth(name: str, master: int, peer: str, peer_mac_address: str, peer_namespace: int, mtu: int) -> Request:
    """A pair in one go: this end up and a port of the bridge, the other one inside the namespace open at
    `peer_namespace` under its final name (no moving, no renaming)."""
    other = _link() + text(_IFLA_IFNAME, peer) + attribute(_IFLA_ADDRESS, _mac(peer_mac_address))
    other += number(_IFLA_NET_NS_FD, peer_namespace) + number(_IFLA_MTU, mtu)
    payload = _link(flags=IFF_UP, change=IFF_UP) + text(_IFLA_IFNAME, name)
    payload += number(_IFLA_MTU, mtu) + number(_IFLA_MASTER, master)
    payload += nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other)),
    )
    return Request(f"create veth {name}", _RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL)


def remove_link(name: str) -> Request:
    """Gone already is success."""
    return Request(f"remove interface {name}", _RTM_DELLINK, _link() + text(_IFLA_IFNAME, name), accepted=(ENODEV,))


def set_up(index: int) -> Request:
    return Request(f"bring up interface {index}", _RTM_NEWLINK, _link(index, IFF_UP, IFF_UP))


def add_address(index: int, interface: IPv4Interface) -> Request:
    payload = _ADDRESS.pack(socket.AF_INET, interface.network.prefixlen, 0, 0, index)
    payload += attribute(_IFA_LOCAL, interface.ip.packed) + attribute(_IFA_ADDRESS, interface.ip.packed)
    payload += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return Request(f"add address {interface}", _RTM_NEWADDR, payload, NLM_F_CREATE | NLM_F_EXCL, (EEXIST,))


def remove_address(index: int, interface: IPv4Interface) -> Request:
    payload = _ADDRESS.pack(socket.AF_INET, interface.network.prefixlen, 0, 0, index)
    payload += attribute(_IFA_LOCAL, interface.ip.packed)
    return Request(f"remove address {interface}", _RTM_DELADDR, payload)


def add_default_route(index: int, gateway: IPv4Address) -> Request:
    payload = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
    payload += attribute(_RTA_GATEWAY, gateway.packed) + number(_RTA_OIF, index)
    return Request(f"add default route by {gateway}", _RTM_NEWROUTE, payload, NLM_F_CREATE | NLM_F_REPLACE)


def find_link(route: RouteSocket, name: str) -> Link | None:
    request = Request(f"find interface {name}", _RTM_GETLINK, _link() + text(_IFLA_IFNAME, name))
    try:
        return _read_link(route.ask(request))
    except OSError as error:
        if error.errno == ENODEV:
            return None
        raise


def list_links(route: RouteSocket) -> list[Link]:
    return [_read_link(answer) for answer in route.dump(Request("list interfaces", _RTM_GETLINK, _link()))]


def _read_link(answer: Answer) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(answer.payload)
    have = read_attributes(answer.payload, _LINK.size)
    info = read_attributes(have.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_string(have.get(_IFLA_IFNAME)),
        kind=_string(info.get(_IFLA_INFO_KIND)),
        master=_integer(have.get(_IFLA_MASTER)),
        is_up=bool(flags & IFF_UP),
        mac_address=have.get(_IFLA_ADDRESS, b"").hex(":"),
        group=_integer(have.get(_IFLA_GROUP)),
    )


def _integer(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", sys.byteorder)


def _string(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0").decode(errors="replace")


def list_addresses(route: RouteSocket) -> list[tuple[int, IPv4Interface]]:
    """(interface index, address) of each IPv4 address."""
    request = Request("list addresses", _RTM_GETADDR, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))
    found: list[tuple[int, IPv4Interface]] = []
    for answer in route.dump(request):
        _, prefix_length, _, _, index = _ADDRESS.unpack_from(answer.payload)
        have = read_attributes(answer.payload, _ADDRESS.size)
        local = have.get(_IFA_LOCAL) or have.get(_IFA_ADDRESS)
        if local:
            found.append((index, IPv4Interface((local, prefix_length))))
    return found


def list_routes(route: RouteSocket) -> list[tuple[int, IPv4Network]]:
    """(interface index or 0, destination) of each IPv4 route of every table but the kernel's own. A default route's
    destination is 0.0.0.0/0."""
    request = Request("list routes", _RTM_GETROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
    found: list[tuple[int, IPv4Network]] = []
    for answer in route.dump(request):
        _, prefix_length, _, _, table, *_ = _ROUTE.unpack_from(answer.payload)
        have = read_attributes(answer.payload, _ROUTE.size)
        destination = have.get(_RTA_DST, bytes(4))
        if table != _RT_TABLE_LOCAL:
            found.append((_integer(have.get(_RTA_OIF)), IPv4Network((destination, prefix_length))))
    return found
