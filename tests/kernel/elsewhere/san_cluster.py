"""Two daemons with etcd, and a unit that both reach by the kernel's own initiator: test_elsewhere.py has another kernel
play this. Each has a host name of its own, and is on the same kernel otherwise. That has two sessions with the target,
and the storage takes them for two hosts.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel.mounts import is_mount_point, mount
from support.daemon import LiveDaemon, wait_for
from support.etcd import etcd
from support.lio_target import LioTarget
from support.san_sessions import names_in, sessions

LEASE_SECONDS = 10
CGROUPS = Path("/sys/fs/cgroup")
WRITE = "i=0; while :; do i=$((i+1)); echo $i >> /d/log || exit 3; sync /d/log || exit 4; done"


class Host(LiveDaemon):
    def __init__(self, name: str, docker_command: Path, cluster: str) -> None:
        joining = ("--cluster", cluster, "--node", name, "--cluster-lease", f"{LEASE_SECONDS}s")
        super().__init__(docker_command, arguments=joining)
        self.name = name

    def _command(self) -> list[str]:
        return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *super()._command()]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LioTarget:
    return LioTarget(tmp_path_factory.mktemp("lio"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, docker_command: Path, busybox_tar: Path) -> Iterator[list[Host]]:
    if not is_mount_point(CGROUPS):
        mount("cgroup2", CGROUPS, "cgroup2")
    with etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        cluster.wait_until_it_answers()
        hosts = [Host(name, docker_command, cluster.address) for name in ("a", "b")]
        try:
            for host in hosts:
                host.start()
                host.docker("import", busybox_tar, "busybox")
            yield hosts
        finally:
            for host in hosts:
                host.close()


@pytest.fixture
def volume(pair: list[Host], target: LioTarget) -> Iterator[str]:
    """That both know; its device is unit 1."""
    if not target.lun_file(1).exists():
        target.lun(1)
        options = [word for key, value in target.options(1).items() for word in ("-o", f"{key}={value}")]
        pair[0].docker("volume", "create", "-d", "san", *options, "db")
        wait_for("the news", lambda: "db" in pair[1].docker("volume", "ls", "-q").stdout.split())
    yield "db"
    for host in pair:
        if not host.is_running:
            host.start()
        if ids := host.docker("ps", "-aq").stdout.split():
            host.docker("rm", "-f", *ids)
    wait_for("it to be let go of", lambda: not sessions() and not target.reserved_by(1), 60)


def run_writer(host: Host, name: str) -> int:
    """Its process, once it has written."""
    command = ("--network", "none", "-v", f"{name}:/d", "busybox", "sh", "-c", WRITE)
    host.docker("run", "-d", "--name", "writer", *command)
    wait_for("records", lambda: host.docker("exec", "writer", "tail", "-n1", "/d/log", code=None).stdout.strip(), 60)
    return int(host.inspect("container", "writer")["State"]["Pid"])


def run_other(host: Host, name: str) -> int:
    """What it finds as the last record."""
    mount = f"type=volume,src={name},dst=/d,volume-opt=wait=60s"
    host.docker("run", "-d", "--name", "other", "--network", "none", "--mount", mount, "busybox", "sleep", "999")
    return last_record(host)


def last_record(host: Host) -> int:
    return int(host.docker("exec", "other", "tail", "-n1", "/d/log").stdout)


def has_ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}/cwd").exists()


def test_a_writer_whose_daemon_is_gone_is_kept_off_by_the_storage(
    pair: list[Host], volume: str, target: LioTarget
) -> None:
    a, b = pair
    writer = run_writer(a, volume)
    assert target.reserved_by(1) == "iqn.2026-11.orlop:a"
    a.kill()
    seen = run_other(b, volume)
    assert target.reserved_by(1) == "iqn.2026-11.orlop:b" and len(sessions()) == 2
    wait_for("its error", lambda: has_ended(writer), 40)
    b.docker("exec", "other", "sh", "-c", "echo mine > /d/mine; sync /d/mine")
    a.start()
    wait_for("its session to go", lambda: len(sessions()) == 1, 60)
    assert a.inspect("container", "writer")["State"]["ExitCode"] in (3, 4)
    refused = a.docker("start", "writer", code=None).stderr
    assert "node b writes to it since" in refused, refused
    assert last_record(b) == seen and target.reserved_by(1) == "iqn.2026-11.orlop:b"
    b.docker("rm", "-f", "other")
    assert not sessions() and not target.reserved_by(1)
    assert {"log", "mine"} <= names_in(target.lun_file(1))


def test_a_takeover_ends_the_writer_and_its_session(pair: list[Host], volume: str, target: LioTarget) -> None:
    a, b = pair
    writer = run_writer(a, volume)
    b.orlop("volume", "takeover", volume)
    seen = run_other(b, volume)
    wait_for("its end", lambda: has_ended(writer), 40)
    wait_for("its session to go", lambda: len(sessions()) == 1, 60)
    assert last_record(b) == seen > 0 and target.reserved_by(1) == "iqn.2026-11.orlop:b"
