"""Encrypted volumes that two hosts have: one of them at a time writes, and the other finds what it wrote."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import wait_for
from support.etcd_members import needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san
from support.shared_tree import SharedTree, give_secrets

pytestmark = [needs_etcd, needs_san]

LEASE_SECONDS = 4
KEY = ["-d", "encrypted", "-o", "key=secret://vault"]
WAITING = "volume-opt=wait=60s"
WRITE = "i=0; while :; do i=$((i+1)); echo planted $i >> /d/log; sync /d/log && echo $i; done"


@pytest.fixture(scope="module")
def pair(hosts: Hosts, busybox_tar: Path) -> tuple[Host, Host]:
    made = [hosts.add(name, "--cluster-lease", f"{LEASE_SECONDS}s") for name in ("a", "b")]
    for host in made:
        host.start()
        host.docker("import", busybox_tar, "busybox")
        give_secrets(host)
        host.orlop("secret", "create", "vault", stdin="the key of the tests")
    return made[0], made[1]


@pytest.fixture(autouse=True)
def cleared(pair: tuple[Host, Host]) -> Iterator[None]:
    yield
    for host in pair:
        host.revive()


def known_to_both(pair: tuple[Host, Host], name: str, *options: str) -> None:
    pair[0].docker("volume", "create", *KEY, *options, name)
    wait_for("the news", lambda: name in pair[1].docker("volume", "ls", "-q").stdout.split())


def last_said(host: Host) -> int:
    said = host.docker("logs", "writer").stdout.split()
    return int(said[-1]) if said else 0


def read(host: Host, name: str) -> list[str]:
    mount = f"type=volume,src={name},dst=/d,{WAITING}"
    return host.docker("run", "--rm", "--mount", mount, "busybox", "cat", "/d/log", timeout=120).stdout.splitlines()


def test_on_a_device_it_fails_over_with_all_that_was_synced(hosts: Hosts, pair: tuple[Host, Host]) -> None:
    a, b = pair
    hosts.san.lun(1)
    device = [word for key, value in hosts.san.options(1).items() for word in ("-o", f"{key}={value}")]
    known_to_both(pair, "vault", "-o", "driver=san", *device)
    assert b.inspect("volume", "vault")["Scope"] == "global"
    a.docker("run", "-d", "--name", "writer", "-v", "vault:/d", "busybox", "sh", "-c", WRITE)
    wait_for("records", lambda: last_said(a) > 3)
    refused = b.docker("run", "--rm", "-v", "vault:/d", "busybox", "true", code=None).stderr
    assert "node a writes to it since" in refused
    said = last_said(a)
    a.power_off()
    found = read(b, "vault")
    assert found[:said] == [f"planted {number}" for number in range(1, said + 1)]
    assert b"planted" not in hosts.san.luns[1].read_bytes()


def test_on_a_tree_nobody_writes_after_a_takeover_who_wrote_before(pair: tuple[Host, Host], tree: SharedTree) -> None:
    a, b = pair
    below = ["-o", "driver=juicefs", *tree.options[2:]]
    refused = a.docker("volume", "create", *KEY, *below, "-o", "access=rwx", "deep", code=None).stderr
    assert "access=rwx is not safe with its storage" in refused and "rwo or rox" in refused
    known_to_both(pair, "deep", *below)
    a.docker("run", "-d", "--name", "writer", "--restart", "always", "-v", "deep:/d", "busybox", "sh", "-c", WRITE)
    wait_for("records", lambda: last_said(a) > 3)
    programs = ("gocryptfs -fg", "juicefs --no-agent mount")  # who only unmounts or looks may name them as well
    assert all(a.pids(program) for program in programs)
    b.orlop("volume", "takeover", "deep")
    assert not any(a.pids(program) for program in programs)
    said, found = last_said(a), read(b, "deep")
    assert found[:said] == [f"planted {number}" for number in range(1, said + 1)]
    wait_for("its return", lambda: last_said(a) > 0 and a.inspect("container", "writer")["State"]["Running"], 60)


def test_a_host_without_the_key_says_so_and_holds_nobody_up(hosts: Hosts, pair: tuple[Host, Host]) -> None:
    a, b = pair
    hosts.san.lun(2)
    device = [word for key, value in hosts.san.options(2).items() for word in ("-o", f"{key}={value}")]
    a.orlop("secret", "create", "own", stdin="only a has it")
    a.docker("volume", "create", "-d", "encrypted", "-o", "key=secret://own", "-o", "driver=san", *device, "other")
    wait_for("the news", lambda: "other" in b.docker("volume", "ls", "-q").stdout.split())
    assert "own" in b.docker("run", "--rm", "-v", "other:/d", "busybox", "true", code=None).stderr
    a.docker("run", "--rm", "-v", "other:/d", "busybox", "touch", "/d/note")
