"""Forwarding and address translation for a bridge: one nftables table of its own, replaced in one transaction.

    table ip orlop-<bridge>
      postrouting   what leaves the subnet by another interface takes that interface's address
      forward       containers may speak to each other and to the outside; the outside may only answer

The table is ours from end to end, so replacing it touches nobody's rules. It cannot overrule anybody either: a packet
that another table drops stays dropped.
"""

import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from orlop.errors import HostFailure, Unsupported

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_TIMEOUT_SECONDS = 20


def render_rules(bridge: str, subnet: IPv4Network) -> str:
    """The whole table, as a script that may be run any number of times."""
    return f"""\
{render_removal(bridge)}
table ip {table_name(bridge)} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != "{bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" oifname "{bridge}" accept
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" drop
    iifname "{bridge}" accept
  }}
}}
"""


def render_removal(bridge: str) -> str:
    """Deleting what is not there is an error in nft, so it is made first."""
    return f"add table ip {table_name(bridge)}\ndelete table ip {table_name(bridge)}"


def table_name(bridge: str) -> str:
    return f"orlop-{bridge}"


def install(bridge: str, subnet: IPv4Network) -> None:
    """Idempotent. Raises Unsupported without nft or the kernel's part of it."""
    _forward()
    _nft(bridge, render_rules(bridge, subnet))


def uninstall(bridge: str) -> None:
    _nft(bridge, render_removal(bridge))


def _forward() -> None:
    try:
        if _FORWARDING.read_text().strip() != "1":
            _FORWARDING.write_text("1")
    except OSError as error:
        raise Unsupported(
            "network bridge",
            f"the host does not forward packets and {_FORWARDING} cannot be written: {error.strerror}",
            "Run `sysctl -w net.ipv4.ip_forward=1` or use --network host or none",
        ) from error


def _nft(bridge: str, script: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=script, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError:
        raise Unsupported(
            f"network bridge {bridge}",
            "the program nft is not installed",
            "Install the package nftables, or use --network host or none",
        ) from None
    except subprocess.TimeoutExpired:
        raise HostFailure(f"network bridge {bridge}", f"nft did not answer in {_TIMEOUT_SECONDS} s") from None
    if done.returncode:
        reason = " ".join(done.stderr.split())
        hint = "Does this kernel have nf_tables and nft_masq?" if "not supported" in reason.lower() else ""
        raise HostFailure(f"network bridge {bridge}", f"nft refused the rules: {reason}", hint)
