"""`docker plugin`: plugins that the daemon installs, starts and watches, by the stock CLI."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonMaker
from orlop.testing.archives import directory, file, make_tar, symlink
from support.asking import Api
from support.daemon import LiveDaemon, wait_for
from support.managed_plugin import plugin_processes, small_config, write_context

Maker = Callable[..., None]


@pytest.fixture
def make_plugin(daemon: LiveDaemon, tmp_path: Path) -> Iterator[Maker]:
    """`make_plugin(name="small", folder="context", **changes of config.json)`, gone at the end with its volumes."""

    def make(name: str = "small", folder: str = "context", **changes: Any) -> None:
        daemon.docker("plugin", "create", name, write_context(tmp_path / folder, small_config(**changes)))

    yield make
    if not daemon.is_running:
        daemon.start()
    if ids := daemon.docker("ps", "-aq").stdout.split():
        daemon.docker("rm", "-f", "-v", *ids)
    for volume in daemon.docker("volume", "ls", "-q").stdout.split():
        daemon.docker("volume", "rm", "-f", volume)
    for name in daemon.docker("plugin", "ls", "-q").stdout.split():
        daemon.docker("plugin", "rm", "-f", name)
    assert not list((daemon.data_root / "plugins" / "blobs").iterdir())


def plugin(daemon: LiveDaemon, name: str = "small") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.docker("plugin", "inspect", name).stdout)[0]
    return found


def test_a_plugin_from_create_to_rm(docker_clients: LiveDaemon, make_plugin: Maker) -> None:
    daemon, docker = docker_clients, docker_clients.docker
    make_plugin()
    assert docker("plugin", "ls", "--format", "{{.Name}} {{.Enabled}}").stdout == "small:latest false\n"
    docker("plugin", "enable", "small")
    assert docker("plugin", "ls", "--format", "{{.Name}} {{.Enabled}}").stdout == "small:latest true\n"
    docker("volume", "create", "-d", "small", "notes")
    assert docker("volume", "ls", "--format", "{{.Driver}} {{.Name}}").stdout == "small:latest notes\n"
    docker("run", "--rm", "-v", "notes:/n", "busybox", "sh", "-c", "echo kept > /n/a")
    assert docker("run", "--rm", "-v", "notes:/n", "busybox", "cat", "/n/a").stdout == "kept\n"
    shown = daemon.inspect("volume", "notes")
    assert (shown["Driver"], shown["Scope"], shown["Status"]["version"]) == ("small:latest", "global", "1")
    assert shown["Mountpoint"].endswith("/propagated-mount/notes"), "a path of the host, not of the plugin"

    assert "plugin small:latest is in use" in docker("plugin", "disable", "small", code=1).stderr
    assert "plugin small:latest is in use" in docker("plugin", "rm", "small", code=1).stderr
    docker("volume", "rm", "notes")
    assert "plugin small:latest is enabled" in docker("plugin", "rm", "small", code=1).stderr
    docker("plugin", "disable", "small")
    docker("plugin", "rm", "small")
    assert docker("plugin", "ls", "-q").stdout == ""
    left = {entry.name for entry in (daemon.data_root / "plugins").iterdir()}
    assert left == {"blobs"}


def test_names_ids_and_beginnings_of_ids_lead_to_a_plugin(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin("some/where:v2")
    found = plugin(daemon, "some/where:v2")
    assert plugin(daemon, found["Id"])["Name"] == plugin(daemon, found["Id"][:8])["Name"] == "some/where:v2"
    assert 'plugin "some/where" not found' in daemon.docker("plugin", "inspect", "some/where", code=1).stderr
    with pytest.raises(AssertionError, match="plugin some/where:v2 already exists"):
        make_plugin("some/where:v2", folder="another")


def test_a_plugin_outlives_the_daemon(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin()
    daemon.docker("plugin", "enable", "small")
    daemon.docker("volume", "create", "-d", "small", "notes")
    daemon.docker("run", "-d", "--name", "app", "-v", "notes:/n", "busybox", "sleep", "1000")
    before = plugin_processes(daemon)
    daemon.restart()
    assert plugin_processes(daemon) == before != []
    daemon.docker("exec", "app", "sh", "-c", "echo kept > /n/a")
    assert daemon.docker("run", "--rm", "-v", "notes:/n", "busybox", "cat", "/n/a").stdout == "kept\n"
    daemon.stop()
    daemon.start()
    assert plugin_processes(daemon) == before
    assert daemon.inspect("volume", "notes")["Status"]["Health"] == "ok"


def test_a_plugin_that_dies_is_started_again(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin()
    daemon.docker("plugin", "enable", "small")
    daemon.docker("volume", "create", "-d", "small", "notes")
    daemon.docker("run", "--rm", "-v", "notes:/n", "busybox", "sh", "-c", "echo kept > /n/a")
    before = plugin_processes(daemon)
    assert daemon.docker("volume", "create", "-d", "small", "-o", "die=yes", "doomed", code=1)
    wait_for("another process", lambda: plugin_processes(daemon) not in ([], before))
    wait_for("its answer", lambda: daemon.inspect("volume", "notes")["Status"]["Health"] == "ok")
    assert daemon.docker("run", "--rm", "-v", "notes:/n", "busybox", "cat", "/n/a").stdout == "kept\n"


def test_a_plugin_that_cannot_come_back_is_tried_again_and_again(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin()
    daemon.docker("plugin", "enable", "small")
    daemon.docker("volume", "create", "-d", "small", "notes")
    program = daemon.data_root / "plugins" / plugin(daemon)["Id"] / "rootfs.1/plugin.py"
    program.rename(program.with_suffix(".away"))
    for pid in plugin_processes(daemon):
        kill(pid)
    wait_for("what is wrong", lambda: "ended with status" in daemon.inspect("volume", "notes")["Status"]["Health"])
    assert plugin(daemon)["Enabled"], "that is a wish"
    assert daemon.docker("volume", "ls", "-q").stdout == "notes\n"
    wait_for("several tries", lambda: daemon.whole_log().count("will be tried again") > 2)
    program.with_suffix(".away").rename(program)
    wait_for("it to be back", lambda: daemon.inspect("volume", "notes")["Status"]["Health"] == "ok", 30)


def test_a_plugin_that_does_not_answer_in_its_time_holds_up_nobody(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin()
    daemon.docker("plugin", "enable", "--timeout", "1", "small")
    told = daemon.docker("volume", "create", "-d", "small", "-o", "sleep=60", "slow", code=1).stderr
    assert "no answer within" in told
    daemon.docker("volume", "create", "swift")
    wait_for(
        "it to be asked again", lambda: not daemon.docker("volume", "create", "-d", "small", "n", code=None).returncode
    )


def test_a_plugin_that_died_with_the_daemon_comes_back_with_it(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin()
    daemon.docker("plugin", "enable", "small")
    daemon.docker("volume", "create", "-d", "small", "notes")
    daemon.docker("run", "-d", "--restart", "always", "--name", "app", "-v", "notes:/n", "busybox", "sleep", "1000")
    daemon.docker("exec", "app", "sh", "-c", "echo kept > /n/a")
    victims = [*plugin_processes(daemon), daemon.inspect("container", "app")["State"]["Pid"]]
    daemon.kill()
    for pid in victims:
        kill(pid)
    daemon.start()
    wait_for("the container", lambda: "app" in daemon.docker("ps", "--filter", "status=running").stdout, 30)
    assert daemon.docker("exec", "app", "cat", "/n/a").stdout == "kept\n"


def test_disabled_says_so_and_no_volume_is_forgotten(daemon: LiveDaemon, make_plugin: Maker) -> None:
    docker = daemon.docker
    make_plugin()
    docker("plugin", "enable", "small")
    docker("volume", "create", "-d", "small", "--label", "of=mine", "notes")
    docker("run", "--rm", "-v", "notes:/n", "busybox", "sh", "-c", "echo kept > /n/a")
    docker("plugin", "disable", "--force", "small")
    for refused in (("volume", "create", "-d", "small", "more"), ("run", "--rm", "-v", "notes:/n", "busybox", "true")):
        assert "plugin small:latest found but disabled" in docker(*refused, code=None).stderr
    assert docker("volume", "ls", "--format", "{{.Driver}} {{.Name}}").stdout == "small:latest notes\n"
    shown = daemon.inspect("volume", "notes")
    assert shown["Labels"] == {"of": "mine"}
    assert "disabled" in shown["Status"]["Health"]
    daemon.restart()
    docker("plugin", "enable", "small")
    assert docker("run", "--rm", "-v", "notes:/n", "busybox", "cat", "/n/a").stdout == "kept\n"


def test_a_container_that_outlived_its_plugin_gets_its_volume_from_the_next(
    daemon: LiveDaemon, make_plugin: Maker
) -> None:
    """What one process of it was told does not stand in the way of what the next is told, nor of its end."""
    docker = daemon.docker
    make_plugin()
    docker("plugin", "enable", "small")
    docker("volume", "create", "-d", "small", "notes")
    docker("run", "-d", "--name", "app", "-v", "notes:/n", "busybox", "sleep", "1000")
    docker("plugin", "disable", "-f", "small")
    daemon.restart()
    docker("exec", "app", "sh", "-c", "echo kept > /n/a")
    docker("plugin", "enable", "small")
    docker("restart", "-t", "0", "app")
    assert docker("exec", "app", "cat", "/n/a").stdout == "kept\n"
    before = mounts_of(daemon)
    docker("rm", "-f", "app")
    wait_for("its end", lambda: mounts_of(daemon) < before)


def test_a_secret_goes_to_the_plugin_and_nowhere_else(daemon: LiveDaemon, make_plugin: Maker) -> None:
    docker = daemon.docker
    make_plugin()
    daemon.orlop("secret", "create", "word", "-", stdin="planted-for-plugin")
    docker("plugin", "set", "small", "GREETING=secret://word", "FAILS=1")
    told = docker("plugin", "enable", "small", code=1).stderr
    docker("plugin", "set", "small", "FAILS=")
    docker("plugin", "enable", "small")
    log = daemon.data_root / "plugins" / plugin(daemon)["Id"] / "log"
    wait_for("the plugin's own words", lambda: "greeting: planted-for-plugin" in log.read_text())
    for said in (told, docker("plugin", "inspect", "small").stdout, daemon.whole_log()):
        assert "planted-for-plugin" not in said
    assert "need it: plugin small:latest" in daemon.orlop("secret", "rm", "word", code=None).stderr
    docker("plugin", "rm", "-f", "small")
    daemon.orlop("secret", "rm", "word")


def test_a_plugin_removed_by_force_leaves_data_and_records_behind(daemon: LiveDaemon, make_plugin: Maker) -> None:
    """Docker does not start any more after that, or remembers the id of the plugin that was."""
    docker = daemon.docker
    make_plugin()
    docker("plugin", "enable", "small")
    docker("volume", "create", "-d", "small", "notes")
    docker("run", "--rm", "-v", "notes:/n", "busybox", "sh", "-c", "echo kept > /n/a")
    docker("plugin", "rm", "--force", "small")
    (kept,) = (daemon.data_root / "plugins" / "kept").iterdir()
    assert (kept / "rootfs.1/data/notes/a").read_text() == "kept\n"
    daemon.restart()
    assert docker("volume", "ls", "-q").stdout == "notes\n"
    assert "not found" in docker("run", "--rm", "-v", "notes:/n", "busybox", "true", code=None).stderr
    (daemon.data_root / "again").mkdir()
    folder = write_context(daemon.data_root / "again", small_config())
    docker("plugin", "create", "small", folder)
    docker("plugin", "enable", "small")
    docker("volume", "rm", "notes")


def test_settings(daemon: LiveDaemon, make_plugin: Maker) -> None:
    docker = daemon.docker
    make_plugin()
    docker("plugin", "set", "small", "GREETING=good day", "args=two three")
    settings = plugin(daemon)["Settings"]
    assert "GREETING=good day" in settings["Env"]
    assert settings["Args"] == ["two", "three"]
    for wish, told in (
        ("VERSION=2", '"VERSION" is not settable'),
        ("NOTHING=1", 'setting "NOTHING" not found in the plugin configuration'),
        ("=1", "invalid format, must be <name>[.<field>][=<value>]"),
        ("GREETING.source=1", '"GREETING.source" is not settable'),
    ):
        assert told in docker("plugin", "set", "small", wish, code=1).stderr
    docker("plugin", "enable", "small")
    log = daemon.data_root / "plugins" / plugin(daemon)["Id"] / "log"
    wait_for("its words", lambda: "greeting: good day ['two', 'three']" in log.read_text())
    assert "cannot set on an active plugin" in docker("plugin", "set", "small", "GREETING=x", code=1).stderr


def test_a_plugin_that_cannot_start_says_why_and_stays_disabled(daemon: LiveDaemon, make_plugin: Maker) -> None:
    make_plugin()
    daemon.docker("plugin", "set", "small", "FAILS=1")
    told = daemon.docker("plugin", "enable", "small", code=1).stderr
    assert "its process ended with status 1" in told
    assert "it cannot work so" in told
    assert not plugin(daemon)["Enabled"]
    assert plugin_processes(daemon) == []
    daemon.docker("plugin", "set", "small", "FAILS=")
    daemon.docker("plugin", "enable", "small")


def test_a_mount_that_the_host_does_not_see_is_refused(daemon: LiveDaemon, make_plugin: Maker) -> None:
    """A container would get the empty directory below it."""
    make_plugin()
    daemon.docker("plugin", "set", "small", "OUTSIDE=/tmp/elsewhere")
    daemon.docker("plugin", "enable", "small")
    daemon.docker("volume", "create", "-d", "small", "notes")
    told = daemon.docker("run", "--rm", "-v", "notes:/n", "busybox", "true", code=None).stderr
    assert "the host does not see" in told


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_what_happens_to_plugins_is_told(daemon: LiveDaemon, api: Api, make_plugin: Maker) -> None:
    with api.listening(type=["plugin"]) as told:
        make_plugin()
        daemon.docker("plugin", "enable", "small")
        daemon.docker("plugin", "disable", "small")
        daemon.docker("plugin", "rm", "small")
        events = told.until("remove")
    assert [event["Action"] for event in events] == ["create", "enable", "disable", "remove"]


def test_a_lost_journal_loses_no_plugin(make_daemon: DaemonMaker, tmp_path: Path) -> None:
    daemon = make_daemon(image=False)
    daemon.docker("plugin", "create", "small", write_context(tmp_path / "c", small_config()))
    daemon.docker("volume", "create", "kept")
    daemon.stop()
    for lost in (daemon.data_root / "orlop").glob("journal.db*"):
        lost.unlink()
    daemon.start()
    assert daemon.docker("plugin", "ls", "--format", "{{.Name}} {{.Enabled}}").stdout == "small:latest false\n"
    daemon.docker("plugin", "enable", "small")
    daemon.docker("plugin", "rm", "-f", "small")


def test_a_context_that_reaches_out_is_refused(daemon: LiveDaemon, tmp_path: Path) -> None:
    """Of `docker plugin create` the daemon unpacks an archive that anybody may have made."""
    victim = tmp_path / "victim"
    config = (json.dumps(small_config())).encode()
    for members in (
        [file("config.json", config), symlink("rootfs", str(tmp_path))],
        [symlink("config.json", "/etc/passwd"), directory("rootfs")],
        [file("config.json", config), directory("rootfs"), symlink("rootfs/a", str(tmp_path)), file("rootfs/a/victim")],
    ):
        status = upload(daemon, make_tar(*members))
        assert status in (204, 400)
        assert not victim.exists()
    for members, told in (([directory("rootfs")], 400), ([file("config.json", config)], 400), ([], 400)):
        assert upload(daemon, make_tar(*members)) == told
    for name in daemon.docker("plugin", "ls", "-q").stdout.split():
        daemon.docker("plugin", "rm", name)


def upload(daemon: LiveDaemon, tar: bytes) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        head = f"POST /plugins/create?name=hostile HTTP/1.1\r\nHost: x\r\nContent-Length: {len(tar)}\r\n\r\n"
        connection.sendall(head.encode() + tar)
        return int(connection.recv(100).split()[1])


def mounts_of(daemon: LiveDaemon) -> int:
    """How many its plugins have made that the host sees."""
    return Path("/proc/self/mountinfo").read_text().count(f"{daemon.data_root}/plugins/") - 1
