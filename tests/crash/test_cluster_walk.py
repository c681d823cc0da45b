"""A daemon of a cluster is killed at every step of what it does to volumes that others know too. After its restart all
hosts say the same, each wish can be made again, no use is left over and none is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, wait_for
from support.etcd import EtcdCluster, etcd


@dataclass
class House:
    a: LiveDaemon
    b: LiveDaemon
    storage: Path

    def create(self, daemon: LiveDaemon, code: int | None = 0) -> None:
        options = (f"meta=sqlite3://{self.storage}/meta.db", "name=tree", f"bucket={self.storage}/data")
        words = [word for option in options for word in ("-o", option)]
        daemon.docker("volume", "create", "-d", "juicefs", *words, "data", code=code)

    def volumes(self, daemon: LiveDaemon) -> list[str]:
        return daemon.docker("volume", "ls", "-q").stdout.split()

    def containers(self, daemon: LiveDaemon) -> list[str]:
        return sorted(daemon.docker("ps", "-a", "--format", "{{.Names}}").stdout.split())

    def labels(self, daemon: LiveDaemon) -> object:
        return daemon.inspect("volume", "data")["Labels"]

    def users(self) -> list[str]:
        """Of a's containers, by the word of b."""
        lines = self.b.orlop("volume", "where", "data", code=None).stdout.splitlines()
        return sorted(line.split()[1] for line in lines if line.startswith("a "))

    def forget(self) -> None:
        for daemon in (self.a, self.b):
            if ids := daemon.docker("ps", "-aq").stdout.split():
                daemon.docker("rm", "-f", *ids)
        wait_for("uses to end", lambda: not self.users())
        if self.volumes(self.a):
            self.a.docker("volume", "rm", "data")
        for daemon in (self.a, self.b):
            wait_for("the removal", lambda daemon=daemon: not self.volumes(daemon))  # type: ignore[misc]


@dataclass(frozen=True)
class Scenario:
    name: str
    prepare: Callable[[House], object]
    act: Callable[[House], object]
    points: int


def _made(house: House) -> None:
    house.create(house.a)
    wait_for("b to know it", lambda: house.volumes(house.b) == ["data"])


def _made_elsewhere(house: House) -> None:
    house.create(house.b)
    wait_for("a to know it", lambda: house.volumes(house.a) == ["data"])


def _used(house: House) -> None:
    _made(house)
    house.a.docker("create", "--name", "user", "-v", "data:/t", "busybox", "true")


WALKED = ("cluster/", "volume.", "container.remove/volume.release")  # what else there is walks in test_walk.py

SCENARIOS = [
    Scenario("create", lambda house: None, lambda house: house.create(house.a, code=None), 4),
    Scenario("remove", _made, lambda house: house.a.docker("volume", "rm", "data", code=None), 4),
    Scenario(
        "update", _made, lambda house: house.a.orlop("volume", "update", "data", "--label", "tier=gold", code=None), 4
    ),
    Scenario(
        "use",
        _made_elsewhere,
        lambda house: house.a.docker("create", "--name", "user", "-v", "data:/t", "busybox", "true", code=None),
        4,
    ),
    Scenario("end of a use", _used, lambda house: house.a.docker("rm", "user", code=None), 2),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture(scope="module")
def house(
    store: EtcdCluster, docker_command: Path, busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    a, b = (LiveDaemon(docker_command, arguments=["--cluster", store.address, "--node", name]) for name in "ab")
    try:
        for daemon in (a, b):
            daemon.start()
            daemon.docker("import", busybox_tar, "busybox")
        yield House(a, b, tmp_path_factory.mktemp("storage"))
    finally:
        for daemon in (a, b):
            daemon.close()


def _check(house: House) -> None:
    """b, which saw all of it, and a, which did not, say the same; and it can be done again."""
    wait_for("etcd", lambda: not house.a.orlop("volume", "ls").stderr)
    wait_for("the same on both", lambda: house.volumes(house.a) == house.volumes(house.b))
    known = house.volumes(house.b)
    users = house.containers(house.a)
    if known:
        wait_for("the uses", lambda: house.users() == users)
    assert known or not users
    if known:
        wait_for("the labels", lambda: house.labels(house.a) == house.labels(house.b))
        assert house.labels(house.a) in (None, {"tier": "gold"})
    house.create(house.a)
    house.create(house.b)
    assert house.a.inspect("volume", "data")["Status"]["Health"] == "ok"
    house.forget()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_step_all_hosts_agree(house: House, scenario: Scenario, tmp_path: Path) -> None:
    scenario.prepare(house)
    log = tmp_path / "points"
    house.a.stop()
    house.a.start(environment={"ORLOP_FAULT_LOG": str(log)})
    wait_for("etcd", lambda: not house.a.orlop("volume", "ls").stderr)
    log.unlink(missing_ok=True)
    scenario.act(house)
    points = [point for point in dict.fromkeys(log.read_text().split()) if point.startswith(WALKED)]
    assert len(points) >= scenario.points
    house.forget()
    for point in points:
        scenario.prepare(house)
        house.a.stop()
        house.a.start(environment={"ORLOP_FAULT": f"{point}=kill"})
        wait_for("etcd", lambda: not house.a.is_running or not house.a.orlop("volume", "ls", code=None).stderr)
        scenario.act(house)
        house.a.wait_for_exit()
        house.a.start()
        _check(house)
