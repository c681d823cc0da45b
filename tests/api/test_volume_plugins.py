"""Other people's volume plugins with a live daemon: a plugin that does as it is told, seen through the API and the
docker command."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonMaker
from support.asking import Api
from support.daemon import LiveDaemon, wait_for
from support.fake_plugin import HANGS, FakePlugin, Misdeed


class Pair:
    """A daemon and a plugin that it finds."""

    def __init__(self, daemon: LiveDaemon, root: Path) -> None:
        self.daemon = daemon
        self.plugin = FakePlugin(daemon.plugins, root / "fake")
        self.plugin.start()
        self.api = Api(daemon, "1.47")

    def close(self) -> None:
        """The daemon's own clearing must find a plugin that behaves."""
        self.plugin.always.clear()
        self.plugin.script.clear()
        self.plugin.stop()
        self.plugin.start()
        for listed in self.api.ok("GET", "/containers/json", all="1"):
            self.api.call("DELETE", f"/containers/{listed['Id']}?force=1")
        for name in self.api.names():
            self.api.call("DELETE", f"/volumes/{name}?force=1")
        self.plugin.stop()

    def inspect(self, name: str) -> Any:
        return self.api.ok("GET", f"/volumes/{name}")

    def reboot(self) -> None:
        """As far as containers notice: their processes are gone, and the daemon has to start them."""
        pids = [self.daemon.inspect("container", each)["State"]["Pid"] for each in self.running()]
        self.daemon.kill()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def running(self) -> list[str]:
        return self.daemon.docker("ps", "-q").stdout.split()


@pytest.fixture
def pair(make_daemon: DaemonMaker, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(make_daemon(), tmp_path)
    yield made
    made.close()


def test_a_life_by_the_docker_command(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("volume", "create", "-d", "fake:latest", "-o", "size=5", "--label", "tier=gold", "data")
    docker("run", "--rm", "-v", "data:/x", "busybox", "sh", "-c", "echo kept > /x/note")
    assert (pair.plugin.root / "data/note").read_text() == "kept\n"
    assert docker("run", "--rm", "-v", "data:/x:ro", "busybox", "cat", "/x/note").stdout == "kept\n"
    found = pair.daemon.inspect("volume", "data")
    assert (found["Driver"], found["Scope"], found["CreatedAt"]) == ("fake", "global", "2026-01-02T03:04:05Z")
    assert found["Mountpoint"] == str(pair.plugin.root / "data")
    assert found["Status"]["Colour"] == "green" and found["Status"]["Health"] == "ok"
    assert (found["Options"], found["Labels"]) == ({"size": "5"}, {"tier": "gold"})
    docker("volume", "rm", "data")
    assert pair.plugin.volumes == {} and pair.api.names() == []
    assert "fake" in pair.api.ok("GET", "/info")["Plugins"]["Volume"]


def test_every_container_and_every_cp_has_an_id_of_its_own(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("run", "-d", "--name", "one", "-v", "data:/x", "--volume-driver", "fake", "busybox", "sleep", "1000")
    docker("run", "-d", "--name", "two", "-v", "data:/x", "busybox", "sleep", "1000")
    docker("exec", "one", "sh", "-c", "echo shared > /x/note")
    assert docker("exec", "two", "cat", "/x/note").stdout == "shared\n"
    assert len(set(pair.plugin.mounted["data"])) == 2
    docker("stop", "-t", "0", "two")
    docker("cp", "two:/x/note", "-")
    assert len(pair.plugin.mounted["data"]) == 1
    ids = [request["ID"] for request in pair.plugin.named("Mount")]
    assert len(set(ids)) == len(ids) and all(len(each) == 64 for each in ids)
    assert pair.daemon.inspect("container", "one")["Mounts"][0]["Source"] == str(pair.plugin.root / "data")
    docker("rm", "-f", "one", "two")
    assert pair.plugin.mounted["data"] == []


def test_what_docker_says_when_a_driver_is_not_there_or_none(pair: Pair) -> None:
    wish = {"Name": "data", "Driver": "nowhere"}
    said = pair.api.refused(404, "POST", "/volumes/create", wish)
    assert said.startswith('create data: error looking up volume plugin nowhere: plugin "nowhere" not found')
    pair.plugin.always["Plugin.Activate"] = {"Implements": ["LogDriver"]}
    said = pair.api.refused(500, "POST", "/volumes/create", {"Name": "data", "Driver": "fake"})
    assert 'Plugin does not implement the requested driver: plugin="fake"' in said


def test_a_plugins_own_error_is_passed_on(pair: Pair) -> None:
    wish = {"Name": "data", "Driver": "fake"}
    pair.plugin.script["Create"] = [{"Err": "no room left"}, Misdeed(500, b'{"Err": "on fire"}')]
    assert pair.api.refused(500, "POST", "/volumes/create", wish) == "create data: no room left"
    assert pair.api.refused(500, "POST", "/volumes/create", wish) == "create data: VolumeDriver.Create: on fire"
    pair.plugin.script["Create"], pair.plugin.always["Get"] = [{"Err": "no room left"}], {"Err": "no such volume"}
    assert pair.api.refused(500, "POST", "/volumes/create", wish) == "create data: no room left"
    assert "undoing" not in pair.daemon.logs(), "nothing was made, so nothing is left"
    assert pair.api.names() == []


def test_a_name_that_another_driver_has(pair: Pair) -> None:
    pair.api.volume("data", Driver="fake")
    unique = "volume name must be unique"
    said = pair.api.refused(409, "POST", "/volumes/create", {"Name": "data", "Driver": "local"})
    assert said == f"create data: driver 'fake' already has volume 'data': {unique}"
    pair.plugin.script["Get"] = [{"Err": "on fire"}]
    said = pair.api.refused(409, "POST", "/volumes/create", {"Name": "data", "Driver": "local"})
    assert "found reference to volume 'data' in driver 'fake', but got an error while checking the driver" in said
    pair.daemon.docker("create", "--name", "holder", "-v", "data:/x", "busybox", "true")
    del pair.plugin.volumes["data"]
    said = pair.api.refused(409, "POST", "/volumes/create", {"Name": "data", "Driver": "local"})
    assert "found references to volume 'data' in driver 'fake' but the volume was not found in the driver" in said
    pair.daemon.docker("rm", "holder")
    assert pair.api.volume("data", Driver="local")["Driver"] == "local"


def test_what_only_the_plugin_knows_is_listed_and_taken_in_when_it_is_meant(pair: Pair) -> None:
    for name in ("one", "two", "three", "four"):
        pair.plugin.deed("Create", json.dumps({"Name": name}).encode())
    assert pair.api.names() == ["four", "one", "three", "two"]
    assert pair.inspect("one")["Driver"] == "fake"
    assert pair.api.volume("two")["Driver"] == "fake", "whoever has it is asked before a local one is made"
    made = pair.api.volume("three", Driver="fake", Labels={"a": "b"}, DriverOpts={"c": "d"})
    assert (made["Labels"], made["Options"]) == ({"a": "b"}, {"c": "d"})
    pair.api.ok("DELETE", "/volumes/four")
    assert sorted(pair.plugin.volumes) == ["one", "three", "two"]
    assert len(pair.plugin.named("Create")) == 4


def test_prune_never_touches_them(pair: Pair) -> None:
    pair.api.volume("", Driver="fake")
    pair.api.volume("data", Driver="fake")
    pair.api.ok("POST", "/volumes/prune", filters={"all": ["true"]})
    assert len(pair.plugin.volumes) == 2


def test_a_failing_plugin_costs_no_volume_its_record(pair: Pair) -> None:
    pair.api.volume("data", Driver="fake", Labels={"tier": "gold"}, DriverOpts={"size": "5"})
    for deed in ({"Err": "on fire"}, Misdeed(500), Misdeed(200, b"?")):
        pair.plugin.always = {"Get": deed, "List": deed}
        listing = pair.api.ok("GET", "/volumes")
        assert [volume["Name"] for volume in listing["Volumes"]] == ["data"]
        assert "fake" in listing["Warnings"][0]
        assert pair.inspect("data")["Labels"] == {"tier": "gold"}
        pair.daemon.restart()
        assert pair.api.names() == ["data"]
    pair.plugin.always.clear()
    found = pair.inspect("data")
    assert (found["Labels"], found["Options"]) == ({"tier": "gold"}, {"size": "5"})
    # What it was asked while it failed may still be under way.
    wait_for("an answer", lambda: pair.api.ok("GET", "/volumes")["Warnings"] is None)


def test_one_that_hangs_holds_up_nobody_else(pair: Pair) -> None:
    pair.api.volume("data", Driver="fake")
    pair.plugin.always = {"List": HANGS, "Plugin.Activate": HANGS, "Get": HANGS}
    began = time.monotonic()
    pair.daemon.restart()
    first = pair.api.ok("GET", "/volumes")
    for _ in range(20):
        listing = pair.api.ok("GET", "/volumes")
        pair.daemon.docker("run", "--rm", "-v", "plain:/x", "busybox", "true")
    assert time.monotonic() - began < 40, "no more than a few moments, and one lookup"
    for each in (first, listing):
        assert "data" in [volume["Name"] for volume in each["Volumes"]]
    assert "fake" in listing["Warnings"][0]


def test_a_container_waits_for_its_plugin_and_starts_when_it_comes(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("run", "-d", "--restart", "always", "--name", "app", "-v", "data:/x", "--volume-driver", "fake",
           "busybox", "sh", "-c", "cat /x/note; sleep 1000")  # fmt: skip
    (pair.plugin.root / "data/note").write_text("the right data\n")
    docker("run", "-d", "--restart", "always", "--name", "other", "-v", "plain:/x", "busybox", "sleep", "1000")
    pair.reboot()
    pair.plugin.stop()
    pair.daemon.start()
    wait_for("the other container", lambda: "other" in docker("ps", "--filter", "status=running").stdout)
    wait_for("the wait", lambda: "app" in docker("ps", "--filter", "status=restarting").stdout)
    assert "not found" in pair.daemon.inspect("container", "app")["State"]["Error"]
    said = docker("start", "app", code=1).stderr
    assert 'plugin "fake" not found' in said
    pair.plugin.start()
    wait_for("the container", lambda: "app" in docker("ps", "--filter", "status=running").stdout, 40)
    wait_for("its word", lambda: docker("logs", "app").stdout.endswith("the right data\n"))
    assert len(pair.plugin.mounted["data"]) == 1


def test_stop_ends_the_waiting(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("run", "-d", "--restart", "unless-stopped", "--name", "app", "-v", "data:/x", "--volume-driver", "fake",
           "busybox", "sleep", "1000")  # fmt: skip
    pair.reboot()
    pair.plugin.stop()
    pair.daemon.start()
    wait_for("the wait", lambda: "app" in docker("ps", "--filter", "status=restarting").stdout)
    docker("stop", "app")
    assert pair.daemon.inspect("container", "app")["State"]["Status"] == "exited"


def test_a_plugin_that_restarts_under_a_running_container(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("run", "-d", "--name", "app", "-v", "data:/x", "--volume-driver", "fake", "busybox", "sleep", "1000")
    pair.plugin.stop()
    docker("exec", "app", "sh", "-c", "echo on > /x/note")
    pair.plugin.start()
    docker("restart", "-t", "0", "app")
    assert docker("exec", "app", "cat", "/x/note").stdout == "on\n"
    assert len(pair.plugin.mounted["data"]) == 1
    docker("rm", "-f", "app")
    assert pair.plugin.mounted["data"] == []


def test_a_container_ends_while_its_plugin_is_away_and_is_unmounted_later(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("run", "-d", "--name", "app", "-v", "data:/x", "--volume-driver", "fake", "busybox", "sleep", "1000")
    mounted = list(pair.plugin.mounted["data"])
    pair.plugin.stop()
    docker("rm", "-f", "app")
    pair.daemon.restart()
    pair.plugin.mounted["data"] = mounted  # it remembers what it has mounted
    pair.plugin.start()
    wait_for("the unmount", lambda: pair.plugin.mounted["data"] == [], 30)


def test_a_volume_whose_plugin_is_gone_for_good_can_be_forgotten_by_force(pair: Pair) -> None:
    pair.api.volume("data", Driver="fake")
    pair.plugin.stop()
    assert 'plugin "fake" not found' in pair.api.refused(503, "DELETE", "/volumes/data")
    assert pair.api.names() == ["data"]
    pair.api.ok("DELETE", "/volumes/data", force="1")
    assert "data" in pair.plugin.volumes, "what it stores is its own"
    pair.daemon.restart()
    assert pair.api.names() == []


def test_a_place_that_is_not_there_starts_nothing(pair: Pair) -> None:
    pair.api.volume("data", Driver="fake")
    (pair.plugin.root / "data").rmdir()
    said = pair.daemon.docker("run", "--rm", "-v", "data:/x", "busybox", "true", code=125).stderr
    assert f"its driver fake says that it is at {pair.plugin.root}/data, where nothing is" in said
    assert not (pair.plugin.root / "data").exists()
    assert pair.plugin.mounted["data"] == []


def test_a_mount_that_hangs_blocks_only_its_container(pair: Pair) -> None:
    docker = pair.daemon.docker
    docker("create", "--name", "app", "-v", "data:/x", "--volume-driver", "fake", "busybox", "sleep", "1000")
    mounts = len(pair.plugin.named("Mount"))  # of copy-up
    pair.plugin.always["Mount"] = HANGS
    with pair.daemon.spawned("start", "app"):
        wait_for("the mount to hang", lambda: len(pair.plugin.named("Mount")) > mounts)
        began = time.monotonic()
        assert "app" in docker("ps", "-a").stdout
        assert pair.daemon.inspect("container", "app")["State"]["Status"] == "created"
        assert pair.inspect("data")["Status"]["Health"] == "ok"
        assert pair.api.names() == ["data"]
        docker("run", "--rm", "-v", "plain:/x", "busybox", "true")
        pair.api.volume("more", Driver="fake")
        assert time.monotonic() - began < 30, "a mount may take two minutes"
        pair.plugin.released.set()
    wait_for("the unmount of what may be mounted", lambda: len(pair.plugin.named("Unmount")) > mounts)


def test_what_is_in_it_can_be_copied_to_a_local_volume(pair: Pair) -> None:
    pair.daemon.docker(
        "run", "--rm", "-v", "data:/x", "--volume-driver", "fake", "busybox", "sh", "-c", "echo a > /x/b"
    )
    pair.daemon.orlop("volume", "cp", "--driver", "local", "data", "copied")
    assert (pair.daemon.volume_data("copied") / "b").read_text() == "a\n"
    assert pair.plugin.mounted["data"] == []
