"""One host at a time writes: the other is told, waits, takes over, and gets it when the first one is gone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import wait_for
from support.etcd_members import needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san

pytestmark = [needs_etcd, needs_san]

LEASE_SECONDS = 6
PATIENT_SECONDS = 14
WRITE = "i=0; while :; do i=$((i+1)); echo $i >> /d/log; sync /d/log; done"


@pytest.fixture(scope="module")
def pair(hosts: Hosts, busybox_tar: Path) -> tuple[Host, Host]:
    made = [hosts.add(name, "--cluster-lease", f"{LEASE_SECONDS}s") for name in ("a", "b")]
    for host in made:
        host.start()
        host.docker("import", busybox_tar, "busybox")
    return made[0], made[1]


@pytest.fixture
def volume(hosts: Hosts, pair: tuple[Host, Host]) -> Iterator[str]:
    """A SAN volume that both know."""
    number = len(hosts.san.luns) + 1
    hosts.san.lun(number)
    name = f"db{number}"
    options = [word for key, value in hosts.san.options(number).items() for word in ("-o", f"{key}={value}")]
    pair[0].docker("volume", "create", "-d", "san", *options, name)
    wait_for("the news", lambda: name in pair[1].docker("volume", "ls", "-q").stdout.split())
    yield name
    for host in pair:
        hosts.heal(host)
        host.go_on()
        host.revive()


def run_writer(host: Host, name: str, *options: str) -> None:
    host.docker("run", "-d", "--name", "writer", *options, "-v", f"{name}:/d", "busybox", "sh", "-c", WRITE)


def test_the_second_is_told_who_writes_and_gets_it_once_the_first_has_stopped(
    pair: tuple[Host, Host], volume: str
) -> None:
    a, b = pair
    run_writer(a, volume)
    wait_for("records", lambda: a.docker("exec", "writer", "tail", "-n1", "/d/log", code=None).stdout.strip())
    said = b.docker("run", "--rm", "-v", f"{volume}:/d", "busybox", "true", code=None).stderr
    assert "node a writes to it since" in said and "for writer" in said and f"orlop volume takeover {volume}" in said
    a.docker("rm", "-f", "writer")
    assert b.docker("run", "--rm", "-v", f"{volume}:/d", "busybox", "tail", "-n1", "/d/log").stdout.strip().isdigit()


def test_a_device_is_one_volume_by_whatever_name_and_on_whichever_host(
    hosts: Hosts, pair: tuple[Host, Host], volume: str
) -> None:
    number = int(volume.removeprefix("db"))
    options = [word for key, value in hosts.san.options(number).items() for word in ("-o", f"{key}={value}")]
    for driver in (["-d", "san"], ["-d", "encrypted", "-o", "driver=san", "-o", "key=secret://vault"]):
        pair[1].orlop("secret", "create", "--force", "vault", stdin="the key of the tests")
        refused = pair[1].docker("volume", "create", *driver, *options, "twin", code=None).stderr
        assert f"its storage is that of the volume {volume} already, made on node a" in refused
    unnamed = [
        "--mount",
        f"type=volume,dst=/d,volume-driver=san,{','.join(f'volume-opt={each}' for each in options[1::2])}",
    ]
    assert "no part in their leases" in pair[1].docker("run", "--rm", *unnamed, "busybox", "true", code=None).stderr


def test_an_image_is_copied_into_it_only_by_who_may_write(pair: tuple[Host, Host], volume: str) -> None:
    a, b = pair
    a.docker("create", "--name", "filled", "-v", f"{volume}:/etc", "busybox", "true")
    said = a.whole_log()
    made = said.index(f"attaching volume {volume}: made a file system")
    assert 0 < said.find(f"volume {volume}: this node writes, epoch 1") < made
    a.docker("rm", "filled")
    run_writer(a, volume)
    b.docker("create", "--name", "later", "-v", f"{volume}:/etc", "busybox", "true")
    assert f"volume {volume}: this node writes" not in b.whole_log()


def test_who_waits_gets_it_when_it_is_free(pair: tuple[Host, Host], volume: str) -> None:
    a, b = pair
    run_writer(a, volume)
    mount = f"type=volume,src={volume},dst=/d,volume-opt=wait=60s"
    with b.spawned("run", "--rm", "--mount", mount, "busybox", "sh", "-c", "echo mine > /d/b") as waiting:
        wait_for("the wait", lambda: json.loads(b.docker("ps", "-a", "--format", "json").stdout or "{}"))
        a.docker("rm", "-f", "writer")
        assert waiting.wait(60) == 0


def test_a_takeover_ends_the_writer_and_its_restart_policy_waits(pair: tuple[Host, Host], volume: str) -> None:
    a, b = pair
    run_writer(a, volume, "--restart", "always")
    wait_for("records", lambda: a.docker("exec", "writer", "tail", "-n1", "/d/log", code=None).stdout.strip())
    b.orlop("volume", "takeover", volume)
    b.docker("run", "-d", "--name", "other", "-v", f"{volume}:/d", "busybox", "sleep", "999")
    assert b.docker("exec", "other", "tail", "-n1", "/d/log").stdout.strip().isdigit()
    wait_for("its end", lambda: a.inspect("container", "writer")["State"]["Status"] == "restarting")
    b.docker("rm", "-f", "other")
    wait_for("its return", lambda: a.inspect("container", "writer")["State"]["Running"], 40)


def test_a_host_without_power_gives_way(pair: tuple[Host, Host], volume: str) -> None:
    a, b = pair
    run_writer(a, volume)
    wait_for("records", lambda: a.docker("exec", "writer", "tail", "-n1", "/d/log", code=None).stdout.strip())
    a.power_off()
    mount = f"type=volume,src={volume},dst=/d,volume-opt=wait=60s"
    found = b.docker("run", "--rm", "--mount", mount, "busybox", "tail", "-n1", "/d/log").stdout
    assert found.strip().isdigit()


def test_a_daemon_that_is_gone_for_too_long_leaves_no_writer(pair: tuple[Host, Host], volume: str) -> None:
    a, b = pair
    run_writer(a, volume, "--restart", "always")
    wait_for("records", lambda: a.docker("exec", "writer", "tail", "-n1", "/d/log", code=None).stdout.strip())
    a.kill()
    mount = f"type=volume,src={volume},dst=/d,volume-opt=wait=60s"
    b.docker("run", "-d", "--name", "other", "--mount", mount, "busybox", "sleep", "999")
    assert not a.pids("qemu-storage-daemon")
    a.start()
    wait_for("its end", lambda: a.inspect("container", "writer")["State"]["Status"] == "restarting", 30)
    b.docker("rm", "-f", "other")
    wait_for("its return", lambda: a.inspect("container", "writer")["State"]["Running"], 40)


@pytest.fixture
def patient(pair: tuple[Host, Host], volume: str) -> Iterator[Host]:
    """The first one, with a lease that lasts longer than a daemon takes to start on a busy machine."""
    host, usual = pair[0], pair[0].arguments
    host.stop()
    host.arguments = [f"{PATIENT_SECONDS}s" if word == f"{LEASE_SECONDS}s" else word for word in usual]
    host.start()
    yield host
    host.docker("rm", "-f", "writer")
    host.stop()
    host.arguments = usual
    host.start()


def test_a_daemon_that_comes_back_in_time_goes_on_with_what_it_had(
    pair: tuple[Host, Host], volume: str, patient: Host
) -> None:
    a, b = patient, pair[1]
    run_writer(a, volume)
    wait_for("records", lambda: a.docker("exec", "writer", "tail", "-n1", "/d/log", code=None).stdout.strip())
    pid = a.inspect("container", "writer")["State"]["Pid"]
    a.restart()
    mount = f"type=volume,src={volume},dst=/d,volume-opt=wait={PATIENT_SECONDS + 2}s"
    said = b.docker("run", "--rm", "--mount", mount, "busybox", "true", code=None).stderr
    assert "node a writes to it since" in said, (
        f"{said}\n{a.logs()}\nB {b.is_running} {b.process and b.process.returncode} {b.pids()}: {b.logs()}"
    )
    assert a.inspect("container", "writer")["State"]["Pid"] == pid


def test_what_is_written_to_when_its_host_joins_is_kept_for_it_until_that_has_stopped(
    hosts: Hosts, pair: tuple[Host, Host], busybox_tar: Path
) -> None:
    late, b = hosts.add("late", joins=False), pair[1]
    number = len(hosts.san.luns) + 1
    hosts.san.lun(number)
    options = [word for key, value in hosts.san.options(number).items() for word in ("-o", f"{key}={value}")]
    late.start()
    late.docker("import", busybox_tar, "busybox")
    late.docker("volume", "create", "-d", "san", *options, "early")
    run_writer(late, "early")
    pid = late.inspect("container", "writer")["State"]["Pid"]
    late.stop()
    late.arguments += ["--cluster", hosts.etcd.address, "--node", "late", "--cluster-lease", f"{LEASE_SECONDS}s"]
    late.start()
    wait_for("the news", lambda: "early" in b.docker("volume", "ls", "-q").stdout.split())
    refused = b.docker("run", "--rm", "-v", "early:/d", "busybox", "true", code=None).stderr
    assert "node late writes to it since before it joined the cluster" in refused
    assert "since before it joined" in b.orlop("volume", "takeover", "early", code=None).stderr
    assert "early is written to by containers that ran before" in late.orlop("volume", "ls").stderr
    assert "ran before this host joined" in late.inspect("volume", "early")["Status"]["Cluster"]
    late.restart()
    assert late.docker("exec", "writer", "tail", "-n1", "/d/log").stdout.strip().isdigit()
    assert late.inspect("container", "writer")["State"]["Pid"] == pid
    late.docker("rm", "-f", "writer")
    mount = "type=volume,src=early,dst=/d,volume-opt=wait=30s"
    reading = ("run", "--rm", "--mount", mount, "busybox", "tail", "-n1", "/d/log")
    found = wait_for("b", lambda: b.docker(*reading, code=None).stdout)
    assert found.strip().isdigit()
    assert "early" not in late.orlop("volume", "ls").stderr
