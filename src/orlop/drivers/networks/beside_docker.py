"""Letting our containers out on a host where Docker lives too.

Docker drops every forwarded packet that none of its rules accepts, and a drop is final: no table of ours can overrule
it. For other people's rules it offers the chain DOCKER-USER, which it calls first and never changes. Ours there:

    -i <bridge> -o <uplink> -j ACCEPT                    out, by the interfaces of the default routes
    -o <bridge> --ctstate RELATED,ESTABLISHED -j ACCEPT  and the answers back

Only the uplinks, so that the door to Docker's own bridges stays as closed as Docker keeps it. The program `iptables`
is asked, not `nft`: it knows where this host's Docker keeps its chain, and refuses tables that nft has written to.
"""

import logging
import re
import subprocess
from collections.abc import Sequence

log = logging.getLogger(__name__)

_CHAIN = "DOCKER-USER"
_TIMEOUT_SECONDS = 20


def render_rules(bridge: str, uplinks: Sequence[str]) -> list[list[str]]:
    """The arguments of each rule."""
    answers = ["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"]
    return [answers, *(["-i", bridge, "-o", uplink, "-j", "ACCEPT"] for uplink in uplinks)]


def let_out(bridge: str, uplinks: Sequence[str]) -> None:
    """Idempotent. Without Docker's chain there is nothing to do; what cannot be done is told, as the containers reach
    each other and the host all the same."""
    present = _listed()
    if present is None:
        return
    for rule in ours(present, bridge):
        _iptables("-D", _CHAIN, *rule)
    for rule in render_rules(bridge, uplinks):
        done = _iptables("-I", _CHAIN, *rule)
        if done is None or done.returncode:
            why = done.stderr.strip() if done else "iptables does not answer"
            log.warning("bridge %s: Docker's firewall keeps its containers in: %s", bridge, why)


def forget(bridge: str) -> None:
    for rule in ours(_listed() or "", bridge):
        _iptables("-D", _CHAIN, *rule)


def ours(listing: str, bridge: str) -> list[list[str]]:
    """The rules of this bridge in what `iptables -S DOCKER-USER` prints."""
    pattern = re.compile(rf"-A {_CHAIN} (.*-[io] {re.escape(bridge)} .*)")
    return [match.group(1).split() for line in listing.splitlines() if (match := pattern.fullmatch(line))]


def _listed() -> str | None:
    """None where there is no such chain, or no iptables."""
    done = _iptables("-S", _CHAIN)
    return done.stdout if done and done.returncode == 0 else None


def _iptables(*arguments: str) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(
            ["iptables", "-w", "5", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
