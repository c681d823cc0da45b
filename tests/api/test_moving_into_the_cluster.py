"""A local volume moves to storage that one host of the cluster at a time writes: two daemons on this machine, a real
etcd, a real SAN."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, Result, orlop_command, wait_for
from support.etcd import EtcdCluster, etcd
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san

pytestmark = needs_san

LEASE_SECONDS = 10  # a daemon that is restarted within it goes on


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture(scope="module")
def pair(store: EtcdCluster, docker_command: Path, busybox_tar: Path) -> Iterator[tuple[LiveDaemon, LiveDaemon]]:
    joining = ["--cluster", store.address, "--cluster-lease", f"{LEASE_SECONDS}s", "--node"]
    made = [LiveDaemon(docker_command, arguments=[*joining, name]) for name in "ab"]
    try:
        for daemon in made:
            daemon.start()
            daemon.docker("import", busybox_tar, "busybox")
            daemon.orlop("secret", "create", "vault", stdin="the key of the tests")
        yield made[0], made[1]
    finally:
        for daemon in made:
            daemon.close()


@pytest.fixture
def a(pair: tuple[LiveDaemon, LiveDaemon]) -> Iterator[LiveDaemon]:
    yield pair[0]
    pair[0].clear()
    wait_for("the removal", lambda: not pair[1].docker("volume", "ls", "-q").stdout)


@pytest.fixture
def b(pair: tuple[LiveDaemon, LiveDaemon]) -> LiveDaemon:
    return pair[1]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[IscsiTarget]:
    with iscsi_target(tmp_path, 1) as found:
        yield found


def device(target: IscsiTarget) -> list[str]:
    return [word for key, value in target.options(1).items() for word in ("-o", f"{key}={value}")]


def run(daemon: LiveDaemon, script: str, code: int | None = 0) -> Result:
    mount = "type=volume,src=db,dst=/d,volume-opt=wait=20s"
    wish = ("run", "--rm", "--network", "none", "--mount", mount, "busybox", "sh", "-c", script)
    return daemon.docker(*wish, code=code)


def keys(store: EtcdCluster) -> str:
    return "".join(
        store.etcdctl("get", "--prefix", "--keys-only", f"/orlop/{kind}/") for kind in ("volumes", "uses", "writers")
    ).strip()


@pytest.mark.parametrize("below", [[], ["-o", "key=secret://vault", "-o", "driver=san"]], ids=["plain", "encrypted"])
def test_it_is_the_clusters_and_its_host_writes_until_its_containers_stop(
    below: list[str], a: LiveDaemon, b: LiveDaemon, target: IscsiTarget, store: EtcdCluster
) -> None:
    a.docker("volume", "create", "--label", "tier=gold", "db")
    run(a, "echo precious > /d/note")
    a.docker("run", "-d", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "sleep", "9999")
    a.docker("create", "--name", "later", "--network", "none", "-v", "db:/d", "busybox", "cat", "/d/note")
    pid = a.inspect("container", "user")["State"]["Pid"]
    a.orlop("volume", "move", "db", "--driver", "encrypted" if below else "san", *below, *device(target))
    assert a.inspect("container", "user")["State"]["Pid"] == pid
    assert a.docker("exec", "user", "sh", "-c", "cat /d/note; echo more >> /d/note").stdout == "precious\n"
    seen = b.inspect("volume", "db")
    assert (seen["Labels"], seen["Scope"]) == ({"tier": "gold"}, "global")
    uses = b.orlop("volume", "where", "db").stdout
    assert "user" in uses and "later" in uses
    assert "node a writes to it" in b.docker("run", "--rm", "-v", "db:/d", "busybox", "true", code=None).stderr
    assert a.docker("start", "-a", "later").stdout == "precious\nmore\n"
    if not below:
        a.restart()
    assert a.docker("exec", "user", "cat", "/d/note").stdout == "precious\nmore\n"
    a.docker("rm", "-f", "user", "later")
    assert run(b, "cat /d/note && echo b >> /d/note").stdout == "precious\nmore\n"
    assert run(a, "cat /d/note").stdout == "precious\nmore\nb\n"


def test_who_loses_write_access_in_the_middle_keeps_the_volume_that_it_had(
    a: LiveDaemon, b: LiveDaemon, target: IscsiTarget, store: EtcdCluster
) -> None:
    a.docker("volume", "create", "db")
    run(a, "echo precious > /d/note")
    linger = "touch /d/stopping; until [ -e /d/go ]; do usleep 9999; done; exit"
    script = f"exec 3>/d/held; trap '{linger}' TERM; while :; do usleep 9999; done"
    wish = ("--stop-timeout", "60", "-v", "db:/d", "busybox", "sh", "-c", script)
    a.docker("run", "-d", "--name", "user", "--network", "none", *wish)
    data = a.volume_data("db")
    wait_for("the open file", (data / "held").exists)
    command = [*orlop_command(), "volume", "move", "db", "--driver", "san", "--stop", *device(target)]
    moving = subprocess.Popen(command, env=a.orlop_environment, stderr=subprocess.PIPE, text=True)
    wait_for("the stop", (data / "stopping").exists)
    for member in store.members:
        member.kill()
    wait_for("the loss", lambda: "write access to the target of a move is lost" in a.whole_log())
    (data / "go").touch()
    _, said = moving.communicate(timeout=60)
    assert moving.returncode == 1, said
    wait_for("its container", lambda: a.inspect("container", "user")["State"]["Running"])
    assert a.docker("exec", "user", "cat", "/d/note").stdout == "precious\n"
    store.wait_until_it_answers()
    wait_for("nothing of it in etcd", lambda: not keys(store))


def test_what_is_taken_is_told_before_anything_is_done(
    a: LiveDaemon, b: LiveDaemon, target: IscsiTarget, store: EtcdCluster
) -> None:
    a.docker("volume", "create", "db")
    b.docker("volume", "create", "-d", "san", *device(target), "other")
    wait_for("the news", lambda: "other" in a.docker("volume", "ls", "-q").stdout)
    refused = a.orlop("volume", "move", "db", "--driver", "san", *device(target), code=1).stderr
    assert "its storage is that of the volume other already" in refused
    assert (
        "rox" in a.orlop("volume", "move", "db", "--driver", "san", "-o", "access=rox", *device(target), code=1).stderr
    )
    assert keys(store) == "/orlop/volumes/other"
    b.docker("volume", "rm", "other")
