"""A network of its own: namespaces joined by a bridge that is in a namespace too. Nothing of it is seen from outside.

    <tag>sw: br0 ---- <tag>a: eth0 10.77.0.101/24
                 `--- <tag>e1: eth0 10.77.0.11/24

Links are cut by dropping what comes and goes, without a word, as a broken cable does.
"""

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.daemon import run_command

_PREFIX = "10.77.0"


class Network:
    def __init__(self) -> None:
        self._tag = f"oc{secrets.token_hex(3)}"
        self._names: list[str] = []
        self.addresses: dict[str, str] = {}
        self._add("sw")
        self._in("sw", "ip", "link", "add", "br0", "type", "bridge")
        self._in("sw", "ip", "link", "set", "br0", "up")

    def _add(self, name: str) -> None:
        run_command(["ip", "netns", "add", f"{self._tag}{name}"])
        self._names.append(name)
        self._in(name, "ip", "link", "set", "lo", "up")

    def _in(self, name: str, *command: str, stdin: str = "") -> None:
        run_command([*self.prefix(name), *command], stdin=stdin)

    def prefix(self, name: str) -> list[str]:
        """In front of a command that is to run there."""
        return ["nsenter", f"--net={self.path(name)}", "--"]

    def path(self, name: str) -> Path:
        return Path("/run/netns") / f"{self._tag}{name}"

    def join(self, name: str, number: int) -> str:
        """A namespace on the bridge; its address."""
        self._add(name)
        address = self.addresses[name] = f"{_PREFIX}.{number}"
        peer = f"v{number}"
        self._in("sw", "ip", "link", "add", peer, "type", "veth", "peer", "name", "eth0", "netns", f"{self._tag}{name}")
        self._in("sw", "ip", "link", "set", peer, "master", "br0", "up")
        self._in(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        self._in(name, "ip", "link", "set", "eth0", "up")
        self._in(name, "ip", "route", "add", "default", "dev", "eth0")
        return address

    def cut(self, name: str, others: Sequence[str]) -> None:
        """`name` and `others` hear no more of each other. What was cut before is whole again, if it is not among
        them."""
        gone = ", ".join(self.addresses[other] for other in others)
        rules = ["table ip cut", "delete table ip cut"]
        if gone:
            rules.append("table ip cut {")
            for hook, side in (("input", "saddr"), ("forward", "saddr"), ("output", "daddr"), ("forward", "daddr")):
                rules.append(f"chain {hook}-{side} {{")
                rules.append(f"type filter hook {hook} priority -300")
                rules.append(f"ip {side} {{ {gone} }} drop")
                rules.append("}")
            rules.append("}")
        self._in(name, "nft", "-f", "-", stdin="\n".join(rules) + "\n")

    def heal(self, name: str) -> None:
        self.cut(name, ())

    def close(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "delete", f"{self._tag}{name}"], check=False, capture_output=True)
