"""A volume moves from one host of a cluster to another: two daemons on this machine, and a real etcd."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, orlop_command, wait_for
from support.disks import mounted_disk
from support.etcd import EtcdCluster, etcd


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture(scope="module")
def pair(store: EtcdCluster, docker_command: Path, busybox_tar: Path) -> Iterator[tuple[LiveDaemon, LiveDaemon]]:
    made = [LiveDaemon(docker_command, arguments=["--cluster", store.address, "--node", name]) for name in "ab"]
    try:
        for daemon in made:
            daemon.start()
            daemon.docker("import", busybox_tar, "busybox")
        yield made[0], made[1]
    finally:
        for daemon in made:
            daemon.close()


@pytest.fixture
def a(pair: tuple[LiveDaemon, LiveDaemon]) -> Iterator[LiveDaemon]:
    yield pair[0]
    for daemon in pair:
        daemon.clear()
        for line in daemon.orlop("volume", "ls", "--retired", "-q").stdout.split():
            daemon.orlop("volume", "purge", "--force", line, code=None)


@pytest.fixture
def b(pair: tuple[LiveDaemon, LiveDaemon]) -> LiveDaemon:
    return pair[1]


def fill(daemon: LiveDaemon, name: str = "db", *options: str) -> None:
    daemon.docker("volume", "create", *options, name)
    script = "echo precious > /d/note; mkdir /d/sub; ln -s note /d/link; head -c 3000000 /dev/urandom > /d/sub/big"
    run(daemon, name, f"{script}; chown 12:34 /d/note; chmod 600 /d/note; touch -d @1000000 /d/sub")


def run(daemon: LiveDaemon, name: str, script: str) -> str:
    command = ["run", "--rm", "--network", "none", "-v", f"{name}:/d", "busybox", "sh", "-c", script]
    return daemon.docker(*command).stdout


def id_of(daemon: LiveDaemon, name: str) -> str:
    return str(json.loads((daemon.data_root / "volumes" / name / "orlop.json").read_text())["id"])


TOLD = "cd /d; find . | sort | xargs stat -c '%n %F %u:%g %a %Y'; cat note; find . -type f | sort | xargs sha256sum"


def test_it_is_there_with_its_data_its_id_its_labels_and_options_and_here_it_can_be_restored(
    a: LiveDaemon, b: LiveDaemon
) -> None:
    fill(a, "db", "--label", "tier=gold", "-o", "size=20m")
    a.orlop("volume", "rename", "db", "base")  # `db` stays another name of it
    before, told, its_id = a.inspect("volume", "base"), run(a, "base", TOLD), id_of(a, "base")
    done = json.loads(a.orlop("volume", "move", "base", "--to", "b", "--format", "json").stdout)
    assert (done["Node"], done["Arrived"], done["Containers"]) == ("b", True, [])
    assert done["Entries"] >= 4
    assert run(b, "db", TOLD) == told
    after = b.inspect("volume", "base")
    assert {key: after[key] for key in ("Name", "CreatedAt", "Labels", "Options", "Driver")} == {
        key: before[key] for key in ("Name", "CreatedAt", "Labels", "Options", "Driver")
    }
    assert id_of(b, "base") == its_id
    assert a.docker("volume", "ls", "-q").stdout == ""
    a.orlop("volume", "restore", "base", "--as", "copy")
    assert run(a, "copy", TOLD) == told
    assert id_of(a, "copy") != its_id, "no two hosts have one of the same id"


def test_it_comes_back_as_it_went_and_its_containers_have_it_again(a: LiveDaemon, b: LiveDaemon) -> None:
    fill(a)
    a.docker("create", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "cat", "/d/note")
    assert "user" in a.orlop("volume", "move", "db", "--to", "b").stderr
    refused = a.docker("start", "user", code=1).stderr
    assert "it was moved to node b" in refused
    run(b, "db", "echo more >> /d/note")
    b.orlop("volume", "move", "db", "--to", "a")
    assert a.docker("start", "-a", "user").stdout == "precious\nmore\n"


def test_what_came_back_and_cannot_go_again_is_as_it_was(a: LiveDaemon, b: LiveDaemon) -> None:
    fill(a)
    a.docker("create", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "cat", "/d/note")
    a.orlop("volume", "move", "db", "--to", "b")
    b.orlop("volume", "move", "db", "--to", "a")
    a.stop()
    a.start(environment={"ORLOP_FAULT": "volume.send/verified/after=errno:EIO"})
    assert "fault injected" in a.orlop("volume", "move", "db", "--to", "b", code=1).stderr
    assert a.docker("start", "-a", "user").stdout == "precious\n"
    nothing_is_left(b)
    a.restart()
    a.orlop("volume", "move", "db", "--to", "b")
    assert run(b, "db", "cat /d/note") == "precious\n"


def test_a_container_that_was_left_gets_no_other_volume_of_that_name(a: LiveDaemon, b: LiveDaemon) -> None:
    fill(a)
    a.docker("create", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "cat", "/d/note")
    a.orlop("volume", "move", "db", "--to", "b")
    assert "moved to node b" in a.inspect("container", "user")["State"]["Error"]
    by_the_way = a.docker("run", "--rm", "-v", "db:/d", "busybox", "true", code=125).stderr
    assert "it was moved to node b" in by_the_way
    a.docker("volume", "create", "db")
    assert "it was moved to node b" in a.docker("start", "user", code=1).stderr
    assert run(a, "db", "ls /d") == ""
    a.restart()
    assert "it was moved to node b" in a.docker("start", "user", code=1).stderr


def test_while_containers_run_that_use_it_it_moves_only_when_they_may_be_stopped(a: LiveDaemon, b: LiveDaemon) -> None:
    fill(a)
    loop = "trap 'echo bye >> /d/log; exit' TERM; while :; do echo x >> /d/log; usleep 20000; done"
    a.docker("run", "-d", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "sh", "-c", loop)
    refused = a.orlop("volume", "move", "db", "--to", "b", code=1).stderr
    assert "user" in refused
    assert "--stop" in refused
    assert a.inspect("container", "user")["State"]["Running"]
    done = a.orlop("volume", "move", "db", "--to", "b", "--stop")
    assert "user" in done.stderr
    state = a.inspect("container", "user")["State"]
    assert not state["Running"]
    assert "moved to node b" in state["Error"]
    assert run(b, "db", "tail -n 1 /d/log") == "bye\n"


@pytest.mark.parametrize(
    ("prepare", "node", "why"),
    [
        (["volume", "create", "db"], "b", "the name is taken there"),
        (None, "nowhere", "no node of that name"),
        (None, "a", "this host is that node"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_copied(
    a: LiveDaemon, b: LiveDaemon, prepare: list[str] | None, node: str, why: str
) -> None:
    fill(a)
    if prepare:
        b.docker(*prepare)
    assert why in a.orlop("volume", "move", "db", "--to", node, code=1).stderr
    assert run(a, "db", "cat /d/note") == "precious\n"
    nothing_is_left(b)


def nothing_is_left(daemon: LiveDaemon) -> None:
    staging = daemon.data_root / "volumes/.staging"
    wait_for("what was made for it to go", lambda: not any(staging.iterdir()))


def test_who_interrupts_it_has_it_as_it_was_and_nothing_is_left_there(a: LiveDaemon, b: LiveDaemon) -> None:
    fill(a)
    for number in range(30_000):  # which takes seconds, however fast the disk is
        (a.volume_data("db") / f"sub/{number}").write_bytes(b"%d" % number)
    told = run(a, "db", TOLD)
    command = [*orlop_command(), "volume", "move", "db", "--to", "b"]
    mover = subprocess.Popen(command, env=a.orlop_environment, stderr=subprocess.DEVNULL)
    staging = b.data_root / "volumes/.staging"
    wait_for("the copy to begin", lambda: list(staging.glob("move-*/_data/sub")))
    mover.send_signal(signal.SIGINT)
    assert mover.wait(30) != 0
    nothing_is_left(b)
    assert run(a, "db", TOLD) == told
    assert not b.docker("volume", "ls", "-q").stdout
    wait_for("the end", lambda: a.orlop("volume", "rename", "db", "other", code=None).returncode == 0)


def test_a_volume_whose_data_is_elsewhere_is_refused(a: LiveDaemon, b: LiveDaemon, tmp_path: Path) -> None:
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}")
    a.docker("volume", "create", *options, "db")
    assert "is not this host's own" in a.orlop("volume", "move", "db", "--to", "b", code=1).stderr


def test_a_name_that_is_promised_is_nobody_elses_meanwhile(a: LiveDaemon, b: LiveDaemon) -> None:
    b.stop()
    b.start(environment={"ORLOP_FAULT": "volume.arrive/ready/after=kill"})
    fill(a)
    wait_for("b to be alive", lambda: "not heard of" not in a.orlop("node", "ls").stdout)
    a.orlop("volume", "move", "db", "--to", "b", code=1)
    b.wait_for_exit()
    assert run(a, "db", "cat /d/note") == "precious\n"
    b.start()
    nothing_is_left(b)
    b.docker("volume", "create", "db")


def test_a_disk_that_gets_full_there_in_the_middle_is_told_and_the_volume_stays_in_use(
    a: LiveDaemon, store: EtcdCluster, tmp_path: Path
) -> None:
    """Of bytes there are enough, which is looked at before; of inodes there are not."""
    fill(a)
    for number in range(2000):
        (a.volume_data("db") / f"sub/{number}").write_bytes(b"small")
    loop = "while :; do echo x >> /d/log; usleep 50000; done"
    a.docker("run", "-d", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "sh", "-c", loop)
    with mounted_disk(tmp_path, 64 << 20, features=["-N", "1000"]) as disk:
        joining = ["--cluster", store.address, "--node", "small"]
        small = LiveDaemon(a.docker_command, data_root=disk / "root", arguments=joining)
        try:
            small.start()
            wait_for("the node", lambda: "small" in a.orlop("node", "ls").stdout)
            refused = a.orlop("volume", "move", "db", "--to", "small", "--stop", code=1).stderr
            assert "No space left on device" in refused and "Make room on the node that it is to go to" in refused
            nothing_is_left(small)
            assert not small.orlop("volume", "ls", "-q").stdout
        finally:
            small.close()
    a.orlop("node", "rm", "small", code=None)
    assert a.inspect("container", "user")["State"]["Running"]
    assert a.docker("exec", "user", "sh", "-c", "cat /d/note; ls /d/sub | wc -l").stdout == "precious\n2001\n"
    assert not store.etcdctl("get", "--prefix", "--keys-only", "/orlop/moves/").strip()
    a.orlop("volume", "rename", "db", "other")
