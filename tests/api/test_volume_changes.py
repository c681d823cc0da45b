"""Volumes renamed, changed and protected, as the stock docker command, docker-py and `orlop` see it."""

import itertools
import json
import threading
from collections.abc import Iterator

import docker
import pytest
from docker import DockerClient

from support.asking import Api
from support.daemon import LiveDaemon, wait_for

PROTECTED = "orlop.protect=true"


@pytest.fixture
def client(daemon: LiveDaemon) -> Iterator[DockerClient]:
    made = docker.DockerClient(base_url=daemon.host, timeout=60)
    yield made
    made.close()


def write(daemon: LiveDaemon, volume: str, text: str) -> None:
    daemon.docker("run", "--rm", "-v", f"{volume}:/d", "busybox", "sh", "-c", f"echo {text} > /d/note")


def read(daemon: LiveDaemon, volume: str) -> str:
    return daemon.docker("run", "--rm", "-v", f"{volume}:/d", "busybox", "cat", "/d/note").stdout


# Rename


def test_running_and_stopped_containers_go_on_with_a_renamed_volume(daemon: LiveDaemon) -> None:
    write(daemon, "old", "kept")
    daemon.docker("run", "-d", "--name", "running", "-v", "old:/d", "busybox", "sleep", "1000")
    daemon.docker(
        "create", "--name", "stopped", "-v", "old:/d", "busybox", "sh", "-c", "cat /d/note; echo more >> /d/note"
    )
    daemon.orlop("volume", "rename", "old", "new")

    assert daemon.docker("volume", "ls", "-q").stdout == "new\n"
    assert daemon.volume_data("new").joinpath("note").read_text() == "kept\n"
    assert not daemon.volume_data("old").exists()
    assert daemon.docker("exec", "running", "cat", "/d/note").stdout == "kept\n"
    daemon.docker("exec", "running", "sh", "-c", "echo here >> /d/note")
    assert daemon.docker("start", "-a", "stopped").stdout == "kept\nhere\n"
    assert daemon.docker("cp", "stopped:/d/note", "-").stdout.count("more\n") == 1
    daemon.docker("restart", "-t", "0", "running")
    assert daemon.docker("exec", "running", "cat", "/d/note").stdout == "kept\nhere\nmore\n"

    daemon.docker("run", "--rm", "--volumes-from", "stopped", "busybox", "grep", "-q", "more", "/d/note")
    for name in ("running", "stopped"):
        (mount,) = daemon.inspect("container", name)["Mounts"]
        assert (mount["Name"], mount["Source"]) == ("old", str(daemon.volume_data("new")))
    daemon.docker("rm", "-f", "-v", "running", "stopped")
    assert read(daemon, "new") == read(daemon, "old") == "kept\nhere\nmore\n"


def test_a_daemon_started_anew_finds_what_was_renamed_under_running_containers(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "-v", "old:/d", "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--name", "ram", "--mount", "type=volume,src=ram,dst=/d,volume-opt=type=tmpfs,"
                  "volume-opt=device=tmpfs", "busybox", "sleep", "1000")  # fmt: skip
    daemon.docker("exec", "ram", "touch", "/d/before")
    daemon.orlop("volume", "rename", "old", "new")
    daemon.orlop("volume", "rename", "ram", "memory")
    daemon.kill()
    daemon.start()
    for name in ("app", "ram"):
        daemon.docker("exec", name, "touch", "/d/after")
        assert daemon.inspect("container", name)["State"]["Running"]
    assert daemon.volume_data("new").joinpath("after").exists()
    assert sorted(path.name for path in daemon.volume_data("memory").iterdir()) == ["after", "before"]
    daemon.docker("rm", "-f", "app", "ram")
    daemon.docker("volume", "rm", "new", "memory")
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_a_container_gets_its_data_and_so_does_cp_while_the_volume_changes_names(
    daemon: LiveDaemon,
) -> None:
    write(daemon, "first", "kept")
    daemon.docker("create", "--name", "app", "-v", "first:/d", "busybox", "cat", "/d/note")
    ended = threading.Event()

    def rename() -> None:
        names = itertools.cycle(["second", "third", "first"])
        while not ended.is_set():
            daemon.orlop("volume", "rename", "first", next(names), code=None)

    renaming = threading.Thread(target=rename)
    renaming.start()
    try:
        for _ in range(12):
            assert daemon.docker("start", "-a", "app").stdout == "kept\n"
            assert "kept\n" in daemon.docker("cp", "app:/d/note", "-").stdout
            assert "kept\n" in daemon.orlop("volume", "cp", "first:/note", "-").stdout
    finally:
        ended.set()
        renaming.join()
    (name,) = daemon.docker("volume", "ls", "-q").stdout.split()
    assert daemon.volume_data(name).joinpath("note").read_text() == "kept\n"


def test_an_alias_is_as_good_as_the_name(daemon: LiveDaemon, client: DockerClient) -> None:
    write(daemon, "old", "kept")
    daemon.orlop("volume", "rename", "old", "new")
    shown = daemon.inspect("volume", "old")
    assert (shown["Name"], shown["Status"]["Aliases"]) == ("new", ["old"])
    assert daemon.docker("volume", "create", "old").stdout == "new\n"
    assert client.volumes.create("old").name == "new"  # as Compose asks before each `up`
    assert client.volumes.get("old").attrs["Mountpoint"] == str(daemon.volume_data("new"))
    assert daemon.docker("volume", "ls", "-q", "-f", "name=old").stdout == "new\n"

    daemon.docker("create", "--name", "app", "-v", "old:/d", "busybox", "true")
    assert daemon.inspect("container", "app")["Mounts"][0]["Name"] == "old", "as Compose compares it with its file"
    for name in ("old", "new"):
        assert daemon.docker("ps", "-aq", "--no-trunc", "-f", f"volume={name}").stdout.strip()
    assert daemon.docker("ps", "-aq", "-f", "volume=ol").stdout == ""
    holder = daemon.inspect("container", "app")["Id"]
    for name in ("old", "new"):
        refused = daemon.docker("volume", "rm", name, code=1).stderr
        assert f"remove {name}: volume is in use - [{holder}]. " in refused
        assert refused.strip().endswith("app")
    assert client.api.df()["Volumes"][0]["UsageData"]["RefCount"] == 1


def test_letting_go_of_an_alias_keeps_the_data(daemon: LiveDaemon) -> None:
    write(daemon, "old", "kept")
    daemon.orlop("volume", "rename", "old", "new")
    assert daemon.docker("volume", "rm", "old").stdout == "old\n"
    assert "no such volume" in daemon.docker("volume", "inspect", "old", code=1).stderr.lower()
    assert read(daemon, "new") == "kept\n"
    write(daemon, "old", "another")
    assert read(daemon, "new") == "kept\n"


def test_what_is_removed_comes_back_with_its_other_name(daemon: LiveDaemon) -> None:
    write(daemon, "old", "kept")
    daemon.orlop("volume", "rename", "old", "new")
    daemon.docker("volume", "rm", "new")
    assert daemon.docker("volume", "ls", "-q").stdout == ""
    daemon.orlop("volume", "restore", "new")
    assert read(daemon, "old") == "kept\n"


def test_a_rename_that_cannot_be_says_why(daemon: LiveDaemon) -> None:
    for name in ("one", "two"):
        daemon.docker("volume", "create", name)
    daemon.docker("create", "--name", "app", "-v", "one:/d", "busybox", "true")

    def refused(*arguments: str) -> str:
        return daemon.orlop("volume", "rename", *arguments, code=1).stderr

    assert "the volume two exists" in refused("one", "two")
    assert "invalid characters" in refused("one", "a/b")
    assert "no such volume" in refused("three", "four")
    assert "containers know it by the name one: app" in refused("--no-alias", "one", "four")
    daemon.orlop("volume", "rename", "--no-alias", "two", "three")
    assert "no such volume" in refused("two", "four")


def test_a_rename_is_an_event(modern: Api) -> None:
    modern.volume("old")
    with modern.listening(type=["volume"]) as events:
        modern.daemon.orlop("volume", "rename", "old", "new")
        renamed = events.until("rename")[-1]
    assert renamed["Actor"] == {"ID": "new", "Attributes": {"driver": "local", "oldName": "old"}}


# Update


def test_labels_and_options_are_replaced_by_what_is_sent(modern: Api) -> None:
    modern.volume("data", Labels={"a": "1"}, DriverOpts={"type": "tmpfs", "device": "tmpfs"})
    changed = modern.ok("PUT", "/volumes/data", {"Labels": {"b": "2"}}, version="7")
    assert (changed["Labels"], changed["Options"]) == ({"b": "2"}, {"type": "tmpfs", "device": "tmpfs"})
    changed = modern.ok("PUT", "/volumes/data", {"driveropts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}})
    assert changed["Labels"] == {"b": "2"}
    assert changed["Options"]["o"] == "size=1m"
    assert modern.ok("GET", "/volumes/data")["Options"] == changed["Options"]
    modern.daemon.restart()
    assert modern.ok("GET", "/volumes/data")["Options"] == changed["Options"]


def test_an_update_that_makes_no_sense_is_refused(modern: Api) -> None:
    modern.volume("data")
    said = modern.refused(400, "PUT", "/volumes/data", {"Labels": {}}, version="x")
    assert said == "invalid swarm object version 'x': strconv.ParseUint: parsing \"x\": invalid syntax"
    assert "invalid option" in modern.refused(400, "PUT", "/volumes/data", {"DriverOpts": {"colour": "red"}})
    assert modern.refused(404, "PUT", "/volumes/nothing", {"Labels": {}}) == "get nothing: no such volume"
    assert modern.refused(400, "PUT", "/volumes/data", {"Labels": [1]}).startswith("invalid JSON")
    assert modern.refused(503, "PUT", "/volumes/data", {}).endswith("but swarm is unavailable")


def test_other_options_hold_from_the_next_mount(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "ram")
    daemon.docker("run", "-d", "--name", "app", "-v", "ram:/d", "busybox", "sleep", "1000")
    changed = daemon.orlop("volume", "update", "--opt", "o=size=2m", "ram")
    assert changed.stdout == "ram\n"
    assert "from the next mount" in changed.stderr
    assert "size=1024k" in daemon.docker("exec", "app", "grep", " /d ", "/proc/mounts").stdout
    daemon.docker("restart", "-t", "0", "app")
    assert "size=2048k" in daemon.docker("exec", "app", "grep", " /d ", "/proc/mounts").stdout


def test_a_password_survives_an_update_of_something_else(daemon: LiveDaemon) -> None:
    options = ("-o", "type=cifs", "-o", "device=//h/share", "-o", "o=username=u,password=hush")
    daemon.docker("volume", "create", *options, "share")
    daemon.orlop("volume", "update", "--label", "a=1", "--opt", "device=//other/share", "share")
    shown = daemon.inspect("volume", "share")
    assert shown["Options"] == {"type": "cifs", "device": "//other/share", "o": "username=u,password=********"}
    kept = json.loads((daemon.volume_data("share").parent / "opts.json").read_text())
    assert (kept["MountDevice"], kept["MountOpts"]) == ("//other/share", "username=u,password=hush")
    assert "hush" not in daemon.logs()


def test_an_update_of_nothing_and_of_what_is_not_there(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    assert "say what to change" in daemon.orlop("volume", "update", "data", code=125).stderr
    assert "has no label 'a'" in daemon.orlop("volume", "update", "--label-rm", "a", "data", code=1).stderr
    assert "no such volume" in daemon.orlop("volume", "update", "--label", "a=1", "nothing", code=1).stderr


# Protection


def test_a_protected_volume_stays_whatever_is_asked(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "--label", PROTECTED, "data")
    for force in ([], ["-f"]):
        refused = daemon.docker("volume", "rm", *force, "data", code=1).stderr
        assert "protected by its label orlop.protect" in refused
        assert "orlop volume update data --label-rm orlop.protect" in refused
    daemon.docker("volume", "prune", "-a", "-f")
    daemon.docker("system", "prune", "-f", "--volumes")
    assert daemon.docker("volume", "ls", "-q").stdout == "data\n"
    daemon.orlop("volume", "update", "--label-rm", "orlop.protect", "data")
    daemon.docker("volume", "rm", "data")


@pytest.mark.parametrize("way", ["rm -v", "--rm"])
def test_a_protected_volume_does_not_go_with_its_container(daemon: LiveDaemon, way: str) -> None:
    mount = f"type=volume,dst=/d,volume-label={PROTECTED}"
    if way == "--rm":
        daemon.docker("run", "--rm", "--mount", mount, "busybox", "touch", "/d/note")
    else:
        daemon.docker("run", "--name", "app", "--mount", mount, "busybox", "touch", "/d/note")
        daemon.docker("rm", "-v", "app")
    assert daemon.docker("ps", "-aq").stdout == ""
    (name,) = daemon.docker("volume", "ls", "-q").stdout.split()
    assert daemon.volume_data(name).joinpath("note").exists()
    wait_for("the log to tell", lambda: f"volume {name} is not removed with its container" in daemon.logs())
    daemon.orlop("volume", "update", "--label-rm", "orlop.protect", name)


# What is retired


def test_what_was_removed_is_listed_with_size_and_filter(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "--label", "tier=gold", "listed-one")
    daemon.docker(
        "run", "--rm", "-v", "listed-one:/d", "busybox", "dd", "if=/dev/zero", "of=/d/x", "bs=1000", "count=3"
    )
    daemon.docker("volume", "create", "listed-two")
    daemon.docker("volume", "rm", "listed-one", "listed-two")
    for term, wanted in (("name=listed-t", "listed-two"), ("label=tier=gold", "listed-one")):
        lines = daemon.orlop("volume", "ls", "--retired", "--format", "json", "-f", term).stdout.splitlines()
        assert [json.loads(line)["Name"] for line in lines] == [wanted]
    assert "SIZE" in daemon.orlop("volume", "ls", "--retired").stdout
    assert "invalid filter" in daemon.orlop("volume", "ls", "--retired", "-f", "colour=red", code=1).stderr


# References


def test_volumes_from_holds_from_the_moment_of_its_creation(daemon: LiveDaemon) -> None:
    """The source goes, the volume is to go: Docker lets it, and gives the created container an empty one later."""
    daemon.docker("run", "--name", "source", "-v", "data:/d", "busybox", "sh", "-c", "echo precious > /d/note")
    daemon.docker("create", "--name", "heir", "--volumes-from", "source", "busybox", "cat", "/d/note")
    daemon.docker("rm", "source")
    daemon.restart()
    refused = daemon.docker("volume", "rm", "data", code=1).stderr
    assert f"remove data: volume is in use - [{daemon.inspect('container', 'heir')['Id']}]" in refused
    daemon.docker("volume", "prune", "-a", "-f")
    assert daemon.docker("start", "-a", "heir").stdout == "precious\n"
    daemon.docker("rm", "heir")
    daemon.docker("volume", "rm", "data")


def test_a_creation_that_fails_leaves_none_of_the_volumes_it_made(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "before")
    missing = "type=bind,src=/nowhere/at/all,dst=/z"
    failing = ("create", "-v", "before:/a", "-v", "fresh:/b", "-v", "/c", "--mount", missing, "busybox", "true")
    assert "bind source path does not exist" in daemon.docker(*failing, code=1).stderr
    assert daemon.docker("volume", "ls", "-q").stdout == "before\n"
    assert daemon.docker("volume", "ls", "-q", "-f", "dangling=true").stdout == "before\n"


def test_what_limits_or_owns_a_volume_does_not_take_it_out_of_prune_and_df(
    daemon: LiveDaemon, client: DockerClient
) -> None:
    daemon.docker("volume", "create", "-o", "uid=1000", "-o", "mode=0700", "owned")
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "ram")
    assert [volume["Name"] for volume in client.api.df()["Volumes"]] == ["owned"]
    assert "owned" in daemon.docker("volume", "prune", "-a", "-f").stdout
    assert daemon.docker("volume", "ls", "-q").stdout == "ram\n"
