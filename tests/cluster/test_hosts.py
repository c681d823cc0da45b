"""The hosts that the other tests play on are what they claim to be."""

import sys
from pathlib import Path

import pytest

from support.daemon import run_command, wait_for
from support.etcd_members import needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san

pytestmark = [needs_etcd, needs_san]


@pytest.fixture(scope="module")
def host(hosts: Hosts, busybox_tar: Path) -> Host:
    made = hosts.add("a", joins=False)
    made.start()
    made.docker("import", busybox_tar, "busybox")
    return made


def _reaches(host: Host, address: str) -> bool:
    name, port = address.split(":")
    connect = f"import socket; socket.create_connection(({name!r}, {port}), 0.5)"
    done = run_command([*host.enter(), sys.executable, "-c", connect], code=None)
    return done.returncode == 0


def test_a_host_reaches_what_is_not_cut_off(hosts: Hosts, host: Host) -> None:
    etcd, san = hosts.etcd.endpoints[0], hosts.san.portal
    assert (_reaches(host, etcd), _reaches(host, san)) == (True, True)
    hosts.cut(host, etcd=True)
    assert (_reaches(host, etcd), _reaches(host, san)) == (False, True)
    hosts.cut(host, storage=True)
    assert (_reaches(host, etcd), _reaches(host, san)) == (True, False)
    hosts.heal(host)
    assert (_reaches(host, etcd), _reaches(host, san)) == (True, True)


def test_a_paused_host_does_nothing_until_it_goes_on(host: Host) -> None:
    host.docker("run", "-d", "--name", "ticks", "busybox", "sh", "-c", "while :; do date >> /ticks; usleep 20000; done")
    ticks = wait_for("ticks", lambda: next(host.data_root.glob("overlay2/*/diff/ticks"), None))
    wait_for("ticks", lambda: ticks.stat().st_size > 100)
    host.pause()
    before = ticks.stat().st_size
    run_command(["sleep", "0.2"])
    assert ticks.stat().st_size == before
    host.go_on()
    wait_for("ticks", lambda: ticks.stat().st_size > before)
    host.docker("rm", "-f", "ticks")


def test_a_host_without_power_has_no_process_left_and_keeps_its_disk(host: Host) -> None:
    host.docker(
        "run", "-d", "--name", "sleeps", "-v", "kept:/d", "busybox", "sh", "-c", "echo kept > /d/note; sleep 999"
    )
    wait_for("the note", lambda: (host.volume_data("kept") / "note").exists())
    host.power_off()
    assert host.pids() == []
    host.power_on()
    host.start()
    assert host.docker("inspect", "-f", "{{.State.Running}}", "sleeps").stdout.strip() == "false"
    assert host.docker("run", "--rm", "-v", "kept:/d", "busybox", "cat", "/d/note").stdout == "kept\n"
    host.clear()


def test_etcd_finds_another_leader(hosts: Hosts) -> None:
    first = wait_for("a leader", hosts.etcd.leader)
    hosts.etcd.kill_member(first)
    try:
        assert wait_for("another leader", hosts.etcd.leader) != first
    finally:
        hosts.etcd.start_member(first)
