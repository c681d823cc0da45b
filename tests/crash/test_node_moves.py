"""Either daemon is killed at every step of a volume's move from one host to the other. Once it is back the volume is on
one of them, whole, and on no other; a container that was stopped for nothing runs again; the move can be made again."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.house import disorder
from support.daemon import LiveDaemon, wait_for
from support.etcd import EtcdCluster, etcd

# Each leaves another state to come back to; the others, which `--long` walks too, are beside one of these.
TELLING = (
    "volume.send/stop/after",
    "volume.send/commit/before",
    "volume.send/commit/after",
    "volume.depart/volume.depart/after",
    "volume.arrive/prepare/after",
    "volume.arrive/filled/after",
    "volume.arrive/volume.arrive/after",
)
WALKED = ("volume.send/", "volume.arrive/", "volume.depart/")
FILL = "mkdir /d/sub && echo precious > /d/sub/note && head -c 300000 /dev/urandom > /d/big && cat /d/big | sha256sum"
TELL = "cat /d/sub/note; cat /d/big | sha256sum"


@dataclass
class House:
    store: EtcdCluster
    a: LiveDaemon
    b: LiveDaemon
    sum: str = ""

    def begin(self) -> None:
        """On a, with a container that uses it."""
        self.a.docker("volume", "create", "db")
        self.sum = self.run(self.a, FILL)
        wish = ("--name", "user", "--init", "--network", "none", "-v", "db:/d", "busybox", "sleep", "9999")
        self.a.docker("run", "-d", *wish)

    def run(self, daemon: LiveDaemon, script: str) -> str:
        return daemon.docker(*("run", "--rm", "--network", "none", "-v", "db:/d", "busybox", "sh", "-c", script)).stdout

    def move(self) -> int:
        return self.a.orlop("volume", "move", "db", "--to", "b", "--stop", code=None).returncode

    def where(self) -> list[LiveDaemon]:
        return [each for each in (self.a, self.b) if "db" in each.docker("volume", "ls", "-q").stdout.split()]

    def settled(self) -> bool:
        """The cluster knows of no move any more."""
        return not self.store.etcdctl("get", "--prefix", "--keys-only", "/orlop/moves/").strip()

    def nodes_are_alive(self) -> bool:
        told = [each.orlop("node", "ls", code=None) for each in (self.a, self.b)]
        return all(each.stdout.count("alive") == 2 and not each.stderr for each in told)

    def check(self) -> None:
        wait_for("the nodes", self.nodes_are_alive)
        wait_for("the end of the move", self.settled)
        for each in (self.a, self.b):
            staging = each.data_root / "volumes/.staging"
            wait_for("what was in the making to go", lambda staging=staging: not any(staging.iterdir()))  # type: ignore[misc]
        (owner,) = self.where()
        assert owner.docker("inspect", "-f", "{{.Status.Health}}", "--type", "volume", "db").stdout == "ok\n"
        if owner is self.a:
            wait_for("the container", lambda: self.a.inspect("container", "user")["State"]["Running"])
            assert self.move() == 0, "it can be made again"
        assert self.where() == [self.b]
        assert self.run(self.b, TELL) == f"precious\n{self.sum}"
        state = self.a.inspect("container", "user")["State"]
        assert (state["Running"], "moved to node b" in state["Error"]) == (False, True)
        for each in (self.a, self.b):
            assert disorder(each) == []

    def clear(self) -> None:
        for each in (self.a, self.b):
            each.clear()
            for line in each.orlop("volume", "ls", "--retired", "-q").stdout.split():
                each.orlop("volume", "purge", "--force", line)


class Moving:
    """The command, in the background."""

    def __init__(self, house: House) -> None:
        self._said = ""

        def work() -> None:
            self._said = house.a.orlop("volume", "move", "db", "--to", "b", "--stop", code=None).stderr

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def end(self) -> str:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self._said


@pytest.fixture(scope="module")
def house(docker_command: Path, busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with etcd(tmp_path_factory.mktemp("etcd")) as store:
        a, b = (LiveDaemon(docker_command, arguments=["--cluster", store.address, "--node", name]) for name in "ab")
        try:
            for daemon in (a, b):
                daemon.start()
                daemon.docker("import", busybox_tar, "busybox")
            yield House(store, a, b)
        finally:
            for daemon in (a, b):
                daemon.close()


def restarted(daemon: LiveDaemon, house: House, **environment: str) -> None:
    daemon.stop()
    daemon.start(environment=environment)
    wait_for("the nodes", house.nodes_are_alive)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["source", "target"])
def test_killed_at_every_step_the_volume_is_on_one_host_and_whole(
    house: House, side: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    killed = house.a if side == "source" else house.b
    log = tmp_path / "points"
    restarted(killed, house, ORLOP_FAULT_LOG=str(log))
    house.begin()
    log.unlink(missing_ok=True)
    assert house.move() == 0
    points = [point for point in dict.fromkeys(log.read_text().split()) if point.startswith(WALKED)]
    house.check()
    house.clear()
    assert len(points) >= (9 if side == "source" else 7), points
    assert len(set(TELLING).intersection(points)) == (4 if side == "source" else 3), points
    is_long = request.config.getoption("--long")
    for point in points if is_long else [point for point in points if point in TELLING]:
        restarted(killed, house, ORLOP_FAULT=f"{point}=kill")
        house.begin()
        moving = Moving(house)
        killed.wait_for_exit()
        killed.start()
        moving.end()
        house.check()
        house.clear()


def test_when_the_target_is_gone_for_good_right_after_the_word_the_source_keeps_the_volume(house: House) -> None:
    """Until the node is taken out nobody has it; if it comes back later, after all, it throws its copy away."""
    restarted(house.b, house, ORLOP_FAULT="volume.arrive/volume.arrive/before=kill")
    house.begin()
    moving = Moving(house)
    house.b.wait_for_exit()
    house.store.etcdctl("del", "/orlop/alive/b")  # or wait until it was not heard of for long enough
    assert "moved to node b" in house.a.docker("start", "user", code=1).stderr
    house.a.orlop("node", "rm", "b")
    assert "node b was taken out of the cluster before it had it" in moving.end()
    wait_for("the container", lambda: house.a.inspect("container", "user")["State"]["Running"])
    assert house.run(house.a, TELL) == f"precious\n{house.sum}"
    assert house.settled()
    house.b.start()
    house.check()
    house.clear()


def test_while_etcd_is_away_nobody_has_what_is_in_doubt_and_then_it_goes_on(house: House) -> None:
    """It goes away between the last pass and the word: while the container is being stopped."""
    restarted(house.a, house)
    house.a.docker("volume", "create", "db")
    house.sum = house.run(house.a, FILL)
    script = (
        "trap 'touch /d/stopping; until [ -e /d/go ]; do usleep 10000; done; exit' TERM; "
        "touch /d/taking; while :; do usleep 9999; done"
    )
    wish = ("--name", "user", "--network", "none", "-v", "db:/d", "busybox", "sh", "-c", script)
    house.a.docker("run", "-d", "--stop-timeout", "60", *wish)
    data = house.a.volume_data("db")
    wait_for("the container to take the signal", (data / "taking").exists)
    moving = Moving(house)
    wait_for("the stop", (data / "stopping").exists)
    for member in house.store.members:
        member.kill()
    (data / "go").touch()
    said = moving.end()
    assert "etcd" in said or "cluster" in said, said
    refused = house.a.docker("start", "user", code=1).stderr
    assert "only the cluster knows" in refused
    house.a.restart()
    assert "only the cluster knows" in house.a.docker("start", "user", code=1).stderr
    assert "db" not in house.b.docker("volume", "ls", "-q").stdout.split()
    house.store.wait_until_it_answers()
    house.check()
    house.clear()
