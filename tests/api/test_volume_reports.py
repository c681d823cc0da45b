"""What is told of volumes: health, users, sizes, what takes the room, what a removal would take."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from conftest import DaemonMaker
from orlop.kernel.mounts import MNT_DETACH, mount, unmount
from support.asking import ask
from support.daemon import LiveDaemon, wait_for
from support.storage import mounted_storage

WRITE = ["busybox", "sh", "-c", "head -c 100000 /dev/zero > /d/f"]


def status(daemon: LiveDaemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.inspect("volume", name)["Status"]
    return found


def listed(daemon: LiveDaemon) -> dict[str, dict[str, Any]]:
    lines = daemon.orlop("volume", "ls", "--size", "--format", "json").stdout.splitlines()
    return {volume["Name"]: volume["Usage"] for volume in map(json.loads, lines)}


def get(daemon: LiveDaemon, path: str) -> Any:
    code, _, text = ask(daemon, f"GET {path}")
    assert code == 200, text
    return json.loads(text)


def test_an_inspect_tells_health_and_users(docker_clients: LiveDaemon) -> None:
    docker_clients.docker("volume", "create", "data")
    assert status(docker_clients, "data") == {"Health": "ok", "Users": []}
    docker_clients.docker("run", "-d", "--name", "app", "-v", "data:/d:ro", "-v", "data:/e", "busybox", "sleep", "1000")
    found = status(docker_clients, "data")
    users = [(user["Container"], user["Destination"], user["RW"], user["Running"]) for user in found["Users"]]
    assert users == [("app", "/d", False, True), ("app", "/e", True, True)]
    assert found["LastContainer"] == "app"
    assert "Status" not in get(docker_clients, "/volumes")["Volumes"][0]


def test_an_inspect_soon_tells_how_much_is_in_it(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--rm", "-v", "data:/d", *WRITE)
    usage = wait_for("the size", lambda: status(daemon, "data").get("Usage", {}))
    assert (usage["SizeBytes"], usage["Entries"]) == (100_000, 1)


def test_a_broken_volume_says_what_is_wrong_with_it(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    daemon.volume_data("data").rmdir()
    daemon.restart()
    assert "missing" in status(daemon, "data")["Health"]


def test_facts_outlive_the_daemon_a_removal_and_a_new_name(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "writer", "-v", "data:/d", *WRITE)
    before = listed(daemon)["data"]
    daemon.docker("rm", "writer")
    daemon.restart()
    daemon.docker("volume", "rm", "data")
    daemon.orlop("volume", "restore", "data")
    daemon.orlop("volume", "rename", "data", "renamed", "--no-alias")
    after = listed(daemon)["renamed"]
    for fact in ("SizeBytes", "LastMount", "LastUnmount", "LastContainer", "MeasuredAt"):
        assert after[fact] == before[fact], fact
    assert (after["LastContainer"], after["SizeBytes"]) == ("writer", 100_000)


def test_a_size_is_marked_when_the_volume_was_used_since(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    assert listed(daemon)["data"]["SizeBytes"] == 0
    daemon.docker("run", "--rm", "-v", "data:/d", *WRITE)
    assert not get(daemon, "/orlop/v1/volumes")["Volumes"][0]["Usage"]["Current"]
    wait_for("the new size", lambda: listed(daemon)["data"]["SizeBytes"] == 100_000)
    assert listed(daemon)["data"]["Current"]


def test_what_is_mounted_is_measured_while_it_is(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")
    assert listed(daemon)["memory"]["SizeBytes"] == -1
    script = "head -c 5000 /dev/zero > /d/f; echo ready; sleep 1000"
    daemon.docker("run", "-d", "--name", "app", "-v", "memory:/d", "busybox", "sh", "-c", script)
    wait_for("the file", lambda: "ready" in daemon.docker("logs", "app").stdout)
    wait_for("the size", lambda: listed(daemon)["memory"]["SizeBytes"] == 5000)


def test_what_takes_the_room_is_found_within_the_volume_only(daemon: LiveDaemon) -> None:
    script = "mkdir -p /d/logs/old /d/etc; head -c 300000 /dev/zero > /d/logs/old/a; ln -s /etc /d/out; echo x > /d/b"
    daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", script)
    lines = daemon.orlop("volume", "du", "data").stdout.splitlines()
    assert [line.split()[-1] for line in lines][1] == "logs/"
    assert lines[-1].split()[1:] == ["300kB", "6", "."]
    assert "old/a" in daemon.orlop("volume", "du", "data", "logs", "--depth", "2").stdout
    assert "leads out" in daemon.orlop("volume", "du", "data", "out", code=1).stderr
    assert "leads out" in daemon.orlop("volume", "du", "data", "../..", code=1).stderr
    assert "no such volume" in daemon.orlop("volume", "du", "ghost", code=1).stderr


def test_a_volume_that_must_be_mounted_is_mounted_for_the_walk(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    daemon.docker("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}", "data")
    assert "5kB" in daemon.orlop("volume", "du", "data").stdout
    assert str(daemon.volume_data("data")) not in Path("/proc/self/mountinfo").read_text()


def test_a_preview_changes_nothing_and_tells_the_truth(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "app", "-v", "used:/d", *WRITE)
    daemon.docker("run", "--rm", "--name", "writer", "-v", "free:/d", *WRITE)
    daemon.docker("volume", "create", "--label", "orlop.protect=true", "kept")
    dry = daemon.orlop("volume", "rm", "--dry-run", "used", "free", "kept", code=1).stdout
    assert "100kB" in dry
    assert "writer" in dry
    assert "used stays: in use by app" in dry
    assert "kept stays: protected by its label orlop.protect" in dry
    prune = daemon.orlop("volume", "prune", "--all", "--dry-run").stdout
    assert "1 to remove, 100kB in all" in prune
    assert daemon.docker("volume", "ls", "-q").stdout.split() == ["free", "kept", "used"]
    asked = daemon.orlop("volume", "prune", "--all", code=1).stderr
    assert "100kB" in asked
    assert "--force" in asked
    assert daemon.orlop("volume", "prune", "--all", "--force").stdout.splitlines()[:2] == ["Removed volumes:", "free"]
    daemon.orlop("volume", "update", "--label-rm", "orlop.protect", "kept")


# Disk usage


def test_disk_usage_leaves_out_what_mounts_something(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")
    daemon.docker("volume", "create", "-o", "uid=1000", "owned")
    daemon.docker("run", "--name", "app", "-v", "data:/d", *WRITE)
    client = docker.DockerClient(base_url=daemon.host)
    usage = {each["Name"]: each["UsageData"] for each in client.df()["Volumes"]}
    client.close()
    assert usage == {"data": {"RefCount": 1, "Size": 100_000}, "owned": {"RefCount": 0, "Size": 0}}


def test_disk_usage_has_a_shape_for_each_version(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "app", "-v", "data:/d", *WRITE)
    daemon.docker("volume", "create", "free")
    (daemon.volume_data("free") / "file").write_bytes(b"x" * 7)
    old = get(daemon, "/v1.51/system/df?type=volume&type=container")
    assert old.keys() == {"Volumes", "Containers"}
    new = get(daemon, "/v1.52/system/df?verbose=1&type=volume")
    assert new["VolumeUsage"]["Items"] == old["Volumes"]
    totals = get(daemon, "/v1.52/system/df?verbose=0")
    assert totals["VolumeUsage"] == {"ActiveCount": 1, "TotalCount": 2, "TotalSize": 100_007, "Reclaimable": 7}
    assert totals["ContainerUsage"]["TotalCount"] == 1
    assert "ActiveCount" not in totals["ContainerUsage"], "it does not run"
    assert ask(daemon, "GET /v1.42/system/df?type=dust")[0] == 400
    assert get(daemon, "/v1.41/system/df?type=dust")["Volumes"]


def test_docker_shows_disk_usage(docker_clients: LiveDaemon) -> None:
    docker_clients.docker("run", "--name", "app", "-v", "data:/d", *WRITE)
    rows = docker_clients.docker("system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}").stdout
    assert "Local Volumes|1|1|100kB" in rows.splitlines()


@pytest.fixture
def hanging(daemon: LiveDaemon) -> Iterator[Path]:
    """A volume in whose place a FUSE file system is mounted whose server never answers."""
    daemon.docker("volume", "create", "hanging")
    place = daemon.volume_data("hanging")
    server = os.open("/dev/fuse", os.O_RDWR)
    mount("hanging", place, "fuse", 0, f"fd={server},rootmode=40000,user_id=0,group_id=0")
    try:
        yield place
    finally:
        os.close(server)  # everybody who still sleeps wakes with an error
        unmount(place, MNT_DETACH)


def test_a_volume_that_hangs_holds_up_no_report_of_the_others(daemon: LiveDaemon, hanging: Path) -> None:
    daemon.docker("run", "--rm", "-v", "data:/d", *WRITE)
    assert status(daemon, "hanging")["Health"] == "ok"
    usage = {each["Name"]: each["UsageData"]["Size"] for each in get(daemon, "/system/df?type=volume")["Volumes"]}
    assert usage == {"data": 100_000, "hanging": -1}
    assert listed(daemon)["data"]["SizeBytes"] == 100_000
    assert listed(daemon)["hanging"]["SizeBytes"] == -1


def test_a_walk_that_hangs_ends_at_a_deadline_and_lets_the_daemon_end(daemon: LiveDaemon, tmp_path: Path) -> None:
    with mounted_storage(tmp_path) as storage:
        for number in range(40):
            (storage.behind / f"d{number}").mkdir()
        options = ("type=none", f"device={storage.place}", "o=bind")
        daemon.docker("volume", "create", *(word for option in options for word in ("-o", option)), "shared")
        assert daemon.orlop("volume", "du", "shared").stdout.splitlines()[-1].split()[2] == "40"
        storage.hang(after=40)
        refused = daemon.orlop("volume", "du", "shared", code=1).stderr
        assert "answer" in refused
        assert listed(daemon)["shared"]["SizeBytes"] == -1
        assert daemon.stop() == 0, "a thread that sleeps there would keep the daemon from ending"
        storage.heal()
        daemon.start()
        daemon.docker("volume", "rm", "shared")


def test_it_is_measured_again_once_the_storage_answers(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon(image=False)
    daemon.docker("volume", "create", "hanging")
    place = daemon.volume_data("hanging")
    (place / "file").write_bytes(b"x" * 7)
    server = os.open("/dev/fuse", os.O_RDWR)
    mount("hanging", place, "fuse", 0, f"fd={server},rootmode=40000,user_id=0,group_id=0")
    try:
        assert get(daemon, "/system/df?type=volume")["Volumes"][0]["UsageData"]["Size"] == -1
    finally:
        os.close(server)
        unmount(place, MNT_DETACH)

    def size() -> Any:
        return get(daemon, "/system/df?type=volume")["Volumes"][0]["UsageData"]["Size"]

    wait_for("the size", lambda: size() == 7)
