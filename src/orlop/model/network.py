"""Networks, a container's place in them, and the three files that tell it about names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from ipaddress import IPv4Interface, ip_address

from orlop.errors import Malformed
from orlop.model.value import dataclass

HOST_NAMESPACE = "host"
HOST_GATEWAY = "host-gateway"

_LOCAL_NAMES = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
# What a container asks when its host asks only itself: nobody inside would answer at the host's loopback address.
_PUBLIC_NAMESERVERS = ("8.8.8.8", "8.8.4.4")
_NAMESERVER = re.compile(r"^\s*nameserver\s+(\S+)")
_MAC_ADDRESS = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    """What joining gave a container. Empty strings where the network has no such thing (host, none)."""

    network: str  # bridge, host, none, container:<id>
    network_id: str = ""
    endpoint_id: str = ""
    sandbox_path: str = ""  # path of the network namespace; "host"; "" = the runtime makes one with nothing but lo
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
    subnet: str = ""  # "" where there is none, or none was chosen yet
    gateway: str = ""
    bridge: str = ""  # the host's interface
    options: Mapping[str, str] = field(default_factory=dict)


def parse_mac_address(text: str) -> str:
    """In lower case with colons. Raises Malformed."""
    if not _MAC_ADDRESS.fullmatch(text):
        raise Malformed(f"invalid MAC address {text!r}", "six pairs of hex digits are wanted, as in 02:42:ac:11:00:02")
    if int(text[:2], 16) & 1:
        raise Malformed(f"invalid MAC address {text!r}", "it is a multicast address: its first byte is odd")
    return text.lower().replace("-", ":")


def parse_gateway(text: str) -> IPv4Interface:
    """The bridge's address from a setting, "192.168.5.1/24". Raises Malformed."""
    try:
        gateway = IPv4Interface(text)
    except ValueError as error:
        raise Malformed(f"invalid bridge address {text!r}", str(error), "Write it as 192.168.5.1/24") from None
    network = gateway.network
    if network.prefixlen > 30 or gateway.ip in (network.network_address, network.broadcast_address):
        raise Malformed(f"invalid bridge address {text!r}", "it leaves no address for a container")
    return gateway


def parse_extra_host(text: str) -> tuple[str, str]:
    """(name, address) of an `--add-host` value "name:address" or "name=address"; the address may be "host-gateway".
    Raises Malformed."""
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not separator or not name or not address or re.search(r"[\s#]|[^\x20-\x7e]", text):
        raise Malformed("bad format for add-host", repr(text), "Write it as name:address")
    if address == HOST_GATEWAY:
        return name, address
    try:
        return name, str(ip_address(address.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise Malformed("invalid IP address in add-host", repr(address)) from None


def render_hosts(
    hostname: str,
    domainname: str = "",
    address: str = "",
    extra_hosts: Sequence[str] = (),
    host_gateway: str = "",
    host_text: str | None = None,
) -> str:
    """/etc/hosts. With `host_text`, the host's own file, for a container that shares the host's network. Raises
    Malformed for an extra host that makes no sense or a gateway where there is none."""
    lines = [_LOCAL_NAMES if host_text is None else host_text.rstrip("\n") + "\n"]
    for extra in extra_hosts:
        name, where = parse_extra_host(extra)
        if where == HOST_GATEWAY:
            if not host_gateway:
                raise Malformed(f"add-host {extra}", "this network has no gateway", "Give an address")
            where = host_gateway
        lines.append(f"{where}\t{name}\n")
    if address and hostname:
        full = f"{hostname}.{domainname}" if domainname else hostname
        short = full.partition(".")[0]
        lines.append(f"{address}\t{full} {short}\n" if short != full else f"{address}\t{full}\n")
    return "".join(lines)


def render_resolv_conf(
    host_text: str,
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    shares_host_network: bool = False,
) -> str:
    """/etc/resolv.conf: the host's, less the name servers that a container cannot reach, with what was asked for in
    the place of what the host says. A search of "." means none."""
    for value in (*dns, *search, *options):
        if not value or re.search(r"\s", value):
            raise Malformed("DNS setting", f"{value!r} has white space in it")
    reachable = _without_nameservers(host_text) if not shares_host_network or dns else host_text.splitlines()
    if shares_host_network and not dns:
        servers: list[str] = []
    elif dns:
        servers = list(dns)
    else:
        servers = [server for server in _nameservers(host_text) if _is_reachable(server)] or list(_PUBLIC_NAMESERVERS)
    lines = [f"nameserver {server}" for server in servers]
    if search:
        reachable = [line for line in reachable if _keyword(line) not in ("search", "domain")]
        wanted = [domain for domain in search if domain != "."]
        lines += [f"search {' '.join(wanted)}"] if wanted else []
    if options:
        reachable = [line for line in reachable if _keyword(line) != "options"]
        lines.append(f"options {' '.join(options)}")
    return "\n".join([*lines, *reachable, ""])


def is_loopback_only(resolv_conf: str) -> bool:
    """True when the host asks only a server of its own, such as systemd-resolved: the real ones stand elsewhere."""
    servers = _nameservers(resolv_conf)
    return bool(servers) and all(_is_loopback(server) for server in servers)


def _nameservers(text: str) -> list[str]:
    return [match.group(1) for line in text.splitlines() if (match := _NAMESERVER.match(line))]


def _without_nameservers(text: str) -> list[str]:
    return [line for line in text.splitlines() if _keyword(line) != "nameserver" and line.strip()]


def _keyword(line: str) -> str:
    return (line.split() or [""])[0]


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_reachable(server: str) -> bool:
    """Containers have no IPv6, and a loopback of their own."""
    return ":" not in server and not _is_loopback(server)
