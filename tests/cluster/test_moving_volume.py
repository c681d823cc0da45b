"""A local volume goes from host to host over a network of its own; the way between them is cut in the middle."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import orlop_command, wait_for
from support.etcd_members import needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san

pytestmark = [needs_etcd, needs_san]

# Asked to end, it waits for leave: so the tests know at which moment of the move they are.
CONTAINER = """
trap 'touch /d/stopping; until [ -e /d/go ]; do usleep 20000; done; rm /d/go /d/stopping /d/taking; exit' TERM
touch /d/taking
while :; do echo x >> /d/log; usleep 20000; done
"""


@pytest.fixture
def pair(hosts: Hosts, busybox_tar: Path) -> Iterator[tuple[Host, Host]]:
    a, b = (hosts.add(name) for name in ("ma", "mb"))
    for host in (a, b):
        host.start()
        host.docker("import", busybox_tar, "busybox")
    wait_for("the nodes", lambda: a.orlop("node", "ls").stdout.count("alive") >= 2)
    yield a, b


def test_a_cut_in_the_middle_leaves_all_as_it_was_and_then_it_moves(hosts: Hosts, pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.docker("run", "-d", "--name", "db", "--stop-timeout", "60", "-v", "db:/d", "busybox", "sh", "-c", CONTAINER)
    data = a.volume_data("db")
    command = [*orlop_command(), "volume", "move", "db", "--to", "mb", "--stop"]

    def begin() -> "subprocess.Popen[str]":
        wait_for("the container to take the signal", (data / "taking").exists)
        mover = subprocess.Popen(command, env=a.orlop_environment, stderr=subprocess.PIPE, text=True)
        wait_for("the stop", (data / "stopping").exists)
        return mover

    mover = begin()
    assert not listening(hosts, b), "who was awaited has come"
    hosts.network.cut("ma", ["mb"])
    (data / "go").touch()
    _, said = mover.communicate(timeout=60)
    assert mover.returncode == 1
    assert "the other node broke off: it gave no sign" in said
    wait_for("the container to go on", lambda: a.inspect("container", "db")["State"]["Running"])
    wait_for("what was copied to go", lambda: not any((b.data_root / "volumes/.staging").iterdir()))
    assert not listening(hosts, b)
    hosts.heal(a)
    mover = begin()
    (data / "go").touch()
    mover.communicate(timeout=60)
    assert mover.returncode == 0
    lines = (b.volume_data("db") / "log").read_text()
    assert set(lines.split()) == {"x"}
    assert not data.exists()
    assert not listening(hosts, b)


def listening(hosts: Hosts, host: Host) -> list[str]:
    """Addresses and ports at which it can be reached from outside."""
    command = [*hosts.network.prefix(host.name), "ss", "-Hltn"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[3] for line in lines if not line.split()[3].startswith(("127.", "[::1]"))]
