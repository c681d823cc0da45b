"""The daemon is killed at every step of moving a local volume, that is in use, to a device which one host of the
cluster at a time writes. The volume is what it was, or the cluster's, whole; at no moment can another host have the
device; and nothing of it is left in etcd."""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.daemon import LiveDaemon, Result, wait_for
from support.etcd import EtcdCluster, etcd
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san

pytestmark = needs_san

LEASE_SECONDS = 20  # nobody waits for its end; a daemon that is back within it goes on with what it had
# What comes after a step comes before the next one. Each leaves another state to come back to; `--long` walks all.
TELLING = (
    "volume.move/volume.move.give/before",
    "volume.move/volume.move.name/after",
    "volume.move/outcome/commit",
)
WALKED = ("volume.move/", "cluster/publish/", "cluster/use/", "cluster/reveal/")
TELL = "cat /d/sub/note; cat /d/big | sha256sum"


@dataclass
class House:
    store: EtcdCluster
    san: IscsiTarget
    a: LiveDaemon
    b: LiveDaemon
    sum: str = ""

    def begin(self) -> None:
        self.a.docker("volume", "create", "db")
        fill = (
            "mkdir /d/sub && echo precious > /d/sub/note && head -c 300000 /dev/urandom > /d/big && sha256sum < /d/big"
        )
        self.sum = self.run(self.a, fill).stdout
        self.a.docker("run", "-d", "--name", "user", "--network", "none", "-v", "db:/d", "busybox", "sleep", "9999")

    def run(self, daemon: LiveDaemon, script: str, code: int | None = 0) -> Result:
        wish = ("run", "--rm", "--network", "none", "--mount", "type=volume,src=db,dst=/d,volume-opt=wait=20s")
        return daemon.docker(*wish, "busybox", "sh", "-c", script, code=code)

    @property
    def device(self) -> list[str]:
        return [word for key, value in self.san.options(1).items() for word in ("-o", f"{key}={value}")]

    def move(self) -> int:
        return self.a.orlop("volume", "move", "db", "--driver", "san", *self.device, code=None).returncode

    def entries(self, kind: str) -> list[dict[str, Any]]:
        told = json.loads(self.store.etcdctl("get", "--prefix", f"/orlop/{kind}/", "-w", "json")).get("kvs", [])
        return [json.loads(base64.b64decode(each["value"])) for each in told]

    def is_settled(self) -> bool:
        return not any(entry.get("coming") for entry in self.entries("volumes"))

    def nobody_else_has_it(self) -> None:
        """While a is dead."""
        announced = self.entries("volumes")
        if not announced:
            return
        assert [entry["name"] for entry in announced] == ["db"]
        if announced[0]["coming"]:
            assert "about to move it" in self.b.docker("run", "--rm", "-v", "db:/d", "busybox", "true", code=125).stderr
            assert "about to move it" in self.b.docker("volume", "rm", "db", code=1).stderr
            assert "about to move it" in self.b.orlop("volume", "takeover", "db", code=1).stderr
            assert "db" not in self.b.docker("volume", "ls", "-q").stdout.split()
        refused = self.b.docker("volume", "create", "-d", "san", *self.device, "other", code=1).stderr
        assert "its storage is that of the volume db already" in refused

    def check(self, was_committed: bool) -> None:
        wait_for("etcd", lambda: not self.a.orlop("volume", "ls").stderr)
        wait_for("the end of the move", self.is_settled)
        assert self.a.docker("volume", "ls", "-q").stdout == "db\n"
        wait_for("all to go on", lambda: "(Frozen)" not in self.a.docker("ps").stdout)
        self.a.docker("exec", "user", "sh", "-c", "test $(cat /d/sub/note) = precious && echo here > /d/sub/here")
        is_moved = self.a.inspect("volume", "db")["Driver"] == "san"
        assert is_moved == was_committed
        if not is_moved:
            assert not self.entries("volumes") and not self.entries("writers")
            assert (self.a.volume_data("db") / "sub/here").exists(), "it has another volume than the one there is"
            self.wipe()  # the killed daemon's half of a copy is on it, and is not taken for nothing
            assert self.move() == 0, "it can be made again"
            wait_for("the end of the move", self.is_settled)
        (entry,), (writer,) = self.entries("volumes"), self.entries("writers")
        assert (entry["driver"], entry["access"], writer["node"]) == ("san", "rwo", "a")
        assert self.a.docker("exec", "user", "sh", "-c", TELL).stdout == f"precious\n{self.sum}"
        assert "node a" in self.b.docker("run", "--rm", "-v", "db:/d", "busybox", "true", code=None).stderr
        self.a.docker("rm", "-f", "user")
        assert self.run(self.b, TELL + "; cat /d/sub/here").stdout == f"precious\n{self.sum}here\n"

    def clear(self) -> None:
        self.a.clear()
        wait_for("the removal", lambda: not self.b.docker("volume", "ls", "-q").stdout)
        assert not self.entries("volumes") and not self.entries("uses")
        wait_for("write access to be given back", lambda: not self.entries("writers"))
        for each in (self.a, self.b):
            for line in each.orlop("volume", "ls", "--retired", "-q").stdout.split():
                each.orlop("volume", "purge", "--force", line, code=None)
        self.wipe()

    def wipe(self) -> None:
        size = self.san.luns[1].stat().st_size
        os.truncate(self.san.luns[1], 0)
        os.truncate(self.san.luns[1], size)


@pytest.fixture(scope="module")
def house(docker_command: Path, busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    place = tmp_path_factory.mktemp("san")
    with etcd(tmp_path_factory.mktemp("etcd")) as store, iscsi_target(place, 1) as san:
        joining = ["--cluster", store.address, "--cluster-lease", f"{LEASE_SECONDS}s", "--node"]
        a, b = (LiveDaemon(docker_command, arguments=[*joining, name]) for name in "ab")
        try:
            for daemon in (a, b):
                daemon.start()
                daemon.docker("import", busybox_tar, "busybox")
            yield House(store, san, a, b)
        finally:
            for daemon in (a, b):
                daemon.close()


def restarted(house: House, **environment: str) -> None:
    house.a.stop()
    house.a.start(environment=environment)
    wait_for("etcd", lambda: not house.a.orlop("volume", "ls").stderr)


@pytest.mark.slow
def test_killed_at_every_step_one_host_has_the_device_and_the_volume_is_whole(
    house: House, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    log = tmp_path / "points"
    restarted(house, ORLOP_FAULT_LOG=str(log))
    house.begin()
    log.unlink(missing_ok=True)
    assert house.move() == 0
    points = [point for point in dict.fromkeys(log.read_text().split()) if point.startswith(WALKED)]
    house.check(was_committed=True)
    house.clear()
    assert set(TELLING) <= set(points), points
    committed = points.index("volume.move/outcome/commit")
    for point in points if request.config.getoption("--long") else TELLING:
        restarted(house, ORLOP_FAULT=f"{point}=kill")
        house.begin()
        house.move()
        assert house.a.wait_for_exit() == -9, point
        house.nobody_else_has_it()
        house.a.start()
        house.check(was_committed=points.index(point) >= committed)
        house.clear()
