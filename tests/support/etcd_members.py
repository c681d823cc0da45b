"""Three members of etcd (Debian's), each in a namespace of its own, for as long as tests need them."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.daemon import wait_for
from support.netspace import Network

needs_etcd = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("etcd") or not shutil.which("etcdctl"), reason="needs root, etcd and etcdctl"
)
MEMBERS = ("e1", "e2", "e3")


class Etcd:
    def __init__(self, network: Network, place: Path) -> None:
        self._network = network
        self._place = place
        place.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for number, name in enumerate(MEMBERS, 11):
            network.join(name, number)

    @property
    def endpoints(self) -> list[str]:
        return [f"{self._network.addresses[name]}:2379" for name in MEMBERS]

    @property
    def address(self) -> str:
        """As the daemon is told."""
        return f"etcd://{','.join(self.endpoints)}"

    def start(self) -> None:
        for name in MEMBERS:
            self.start_member(name)
        wait_for("etcd", lambda: self.leader() != "", 30)

    def start_member(self, name: str) -> None:
        peers = ",".join(f"{each}=http://{self._network.addresses[each]}:2380" for each in MEMBERS)
        own = self._network.addresses[name]
        command = [
            *(
                "setpriv",
                "--pdeathsig",
                "KILL",
                *self._network.prefix(name),
                "etcd",
                "--name",
                name,
                "--data-dir",
                str(self._place / name),
            ),
            *("--listen-client-urls", f"http://{own}:2379", "--advertise-client-urls", f"http://{own}:2379"),
            *("--listen-peer-urls", f"http://{own}:2380", "--initial-advertise-peer-urls", f"http://{own}:2380"),
            *("--initial-cluster", peers, "--initial-cluster-state", "new", "--unsafe-no-fsync"),
        ]
        with (self._place / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ctl(self, *arguments: str) -> str:
        """As an administrator; what it said of those that answered."""
        endpoints = f"--endpoints={','.join(self.endpoints)}"
        command = [*self._network.prefix(MEMBERS[0]), "etcdctl", endpoints, "--command-timeout=2s", *arguments]
        done = subprocess.run(
            command, env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout

    def leader(self) -> str:
        """Its name; "" while there is none."""
        said = self.ctl("endpoint", "status", "-w", "json")
        found: list[dict[str, Any]] = json.loads(said) if said else []
        names = {each["Status"]["header"]["member_id"]: each["Endpoint"] for each in found}
        leaders = {each["Status"].get("leader", 0) for each in found}
        if len(leaders) != 1 or not (endpoint := names.get(leaders.pop(), "")):
            return ""
        return next(name for name in MEMBERS if endpoint.startswith(f"{self._network.addresses[name]}:"))

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def kill_member(self, name: str) -> None:
        """Its data stay; `start_member` brings it back."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.processes.clear()
