"""The story that Orlop exists for, as a new user tries it with the stock docker command."""

import os
from pathlib import Path

from support.daemon import LiveDaemon, wait_for

WRITER = "while :; do date >> /data/log; sleep 1; done"


def test_what_is_in_a_volume_outlives_its_container(docker_clients: LiveDaemon) -> None:
    docker = docker_clients.docker
    layers = docker_clients.layer_folders()
    docker("volume", "create", "data")
    docker("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/note; echo lost > /note")
    assert docker_clients.volume_data("data").joinpath("note").read_text() == "kept\n"
    assert docker("run", "--rm", "-v", "data:/data", "busybox", "cat", "/data/note").stdout == "kept\n"
    failed = docker("run", "--rm", "busybox", "cat", "/note", code=1)
    assert "No such file or directory" in failed.stderr
    assert docker_clients.layer_folders() == layers, "the writable layers went with their containers"


def test_a_killed_daemon_is_not_noticed_and_a_removed_volume_comes_back(daemon: LiveDaemon) -> None:
    log = daemon.volume_data("data") / "log"
    daemon.docker("volume", "create", "data")
    app = daemon.docker("run", "-d", "--name", "app", "-v", "data:/data", "busybox", "sh", "-c", WRITER).stdout.strip()
    started = daemon.inspect("container", "app")["State"]
    wait_for("the first line", lambda: log.exists() and log.stat().st_size)

    daemon.kill()
    size = log.stat().st_size
    wait_for("the log to grow without a daemon", lambda: log.stat().st_size > size)
    daemon.start()

    assert daemon.docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}").stdout.split() == [app, "app"]
    state = daemon.inspect("container", "app")["State"]
    assert (state["Pid"], state["StartedAt"]) == (started["Pid"], started["StartedAt"]), "it is the same process"
    daemon.docker("logs", "app")
    assert daemon.docker("exec", "app", "tail", "-1", "/data/log").stdout.strip() in log.read_text()
    refused = daemon.docker("volume", "rm", "data", code=1)
    assert "volume is in use" in refused.stderr
    assert app in refused.stderr

    daemon.docker("stop", "-t", "1", "app")
    daemon.docker("rm", "app")
    written = log.read_bytes()
    daemon.docker("volume", "rm", "data")
    assert not log.exists()
    assert "data" not in daemon.docker("volume", "ls", "-q").stdout.split()
    assert "data" in daemon.orlop("volume", "ls", "--retired").stdout
    daemon.orlop("volume", "restore", "data")
    assert log.read_bytes() == written
    assert daemon.docker("volume", "ls", "-q").stdout.split() == ["data"]


def test_a_stopped_daemon_leaves_containers_running_and_takes_them_up_again(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    pid = daemon.inspect("container", "app")["State"]["Pid"]
    assert daemon.stop() == 0
    os.kill(pid, 0)
    daemon.start()
    assert daemon.inspect("container", "app")["State"]["Pid"] == pid
    daemon.docker("kill", "app")
    assert daemon.docker("wait", "app").stdout.strip() == "137"


def test_a_container_that_ends_while_the_daemon_is_away_is_found_ended(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "gate")
    script = "until [ -e /gate/open ]; do sleep 0.1; done; echo last words; exit 7"
    daemon.docker("run", "-d", "--name", "app", "-v", "gate:/gate", "busybox", "sh", "-c", script)
    pid = daemon.inspect("container", "app")["State"]["Pid"]
    daemon.kill()
    daemon.volume_data("gate").joinpath("open").touch()
    wait_for("the container to end", lambda: not Path(f"/proc/{pid}").exists())
    daemon.start()
    assert daemon.docker("wait", "app").stdout.strip() == "7"
    assert daemon.docker("logs", "app").stdout == "last words\n"
