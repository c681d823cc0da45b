"""Mounts of volumes that die, hang or are away while containers use them: found, told, mended; never an empty directory
in their place."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orlop.kernel.mounts import MNT_DETACH, unmount
from support.asking import Api, ask
from support.daemon import LiveDaemon, wait_for
from support.ports import free_port, is_free
from support.seaweed import program
from support.storage import mounted_storage

SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture
def far(tmp_path: Path) -> Path:
    (tmp_path / "far" / "part").mkdir(parents=True)
    return tmp_path / "far"


def create(ship: LiveDaemon, far: Path, name: str = "photos") -> None:
    ship.docker("volume", "create", "-d", "cloud", "-o", "type=alias", "-o", f"rclone.remote={far}", name)


def program_of(ship: LiveDaemon) -> int:
    (record,) = ship.exec_root.glob("programs/cloud/*/program.json")
    return int(json.loads(record.read_text())["pid"])


def health(ship: LiveDaemon, name: str = "photos") -> str:
    found: str = ship.inspect("volume", name)["Status"]["Health"]
    return found


def answers(ship: LiveDaemon, container: str, *command: str) -> str:
    return ship.docker("exec", container, *command, code=None).stdout


def await_events(ship: LiveDaemon, name: str, *states: str) -> None:
    """All that were told of its health, whoever told them."""
    wanted = [f"health_status: {state}" for state in states]
    wait_for(f"events {states}", lambda: [event["Action"] for event in events_of(ship, name)] == wanted)
    assert {event["Actor"]["Attributes"]["driver"] for event in events_of(ship, name)} <= {"cloud", "local"}


def events_of(ship: LiveDaemon, name: str) -> list[dict[str, Any]]:
    arguments = ("events", "--since", "0", "--until", "0s", "--filter", f"volume={name}")
    said = ship.docker(*arguments, "--filter", "event=health_status", "--format", "{{json .}}").stdout
    return [json.loads(line) for line in said.splitlines()]


def inner_mount(ship: LiveDaemon, container: str) -> str:
    table = Path(f"/proc/{ship.inspect('container', container)['State']['Pid']}/mountinfo").read_text()
    (line,) = [line for line in table.splitlines() if line.split()[4] == "/p"]
    return line


def test_a_killed_program_is_started_again_and_running_containers_get_the_new_mount(
    daemon: LiveDaemon, far: Path
) -> None:
    create(daemon, far)
    (far / "a").write_text("kept\n")
    daemon.docker("run", "-d", "--name", "writer", "-v", "photos:/p", *SLEEP)
    daemon.docker("run", "-d", "--name", "reader", "-v", "photos:/p:ro", *SLEEP)
    part = "type=volume,source=photos,target=/p,volume-subpath=part"
    daemon.docker("run", "-d", "--name", "partly", "--mount", part, *SLEEP)
    assert answers(daemon, "reader", "cat", "/p/a") == "kept\n"
    before = program_of(daemon)
    os.kill(before, signal.SIGKILL)
    for name in ("writer", "reader"):
        wait_for(f"{name} to read again", lambda name=name: answers(daemon, name, "cat", "/p/a") == "kept\n")  # type: ignore[misc]
    daemon.docker("exec", "partly", "sh", "-c", "until echo more > /p/b; do :; done", timeout=20)
    daemon.docker("exec", "writer", "sh", "-c", "echo new > /p/c")
    wait_for("it to be well", lambda: health(daemon) == "ok")
    await_events(daemon, "photos", "stale", "ok")
    assert program_of(daemon) != before
    assert "Read-only" in daemon.docker("exec", "reader", "touch", "/p/d", code=1).stderr
    assert " ro," in inner_mount(daemon, "reader") and " rw," in inner_mount(daemon, "writer")
    daemon.docker("rm", "-f", "writer", "reader", "partly")
    assert (far / "part/b").read_text() == "more\n" and (far / "c").read_text() == "new\n"
    assert not list(daemon.exec_root.glob("programs/cloud/*"))


def test_where_nothing_can_take_its_place_the_dead_mount_stays_and_the_volume_says_why(
    daemon: LiveDaemon, modern: Api, far: Path
) -> None:
    create(daemon, far)
    (far / "a").write_text("kept\n")
    daemon.docker("run", "-d", "--name", "reader", "-v", "photos:/p", *SLEEP)
    aside = far.rename(far.with_name("aside"))
    os.kill(program_of(daemon), signal.SIGKILL)
    wait_for("the failure to be told", lambda: "mending it failed" in health(daemon))
    assert health(daemon).startswith("stale: its program ended")
    said = daemon.docker("exec", "reader", "sh", "-c", "echo lost > /p/b", code=1).stderr
    assert "not connected" in said.lower()
    assert any(warning.startswith("volume photos: stale: ") for warning in modern.ok("GET", "/volumes")["Warnings"])
    assert 'orlop_volumes_unwell{state="stale"} 1' in ask(daemon, "GET /orlop/metrics")[2]
    aside.rename(far)
    wait_for("the container to read", lambda: answers(daemon, "reader", "cat", "/p/a") == "kept\n", 40)
    assert not (far / "b").exists()


def test_a_daemon_that_dies_before_it_could_mend_leaves_it_to_the_next(daemon: LiveDaemon, far: Path) -> None:
    create(daemon, far)
    daemon.docker("run", "-d", "--name", "writer", "-v", "photos:/p", *SLEEP)
    program = program_of(daemon)
    daemon.kill()
    os.kill(program, signal.SIGKILL)
    daemon.start()
    wait_for("it to write again", lambda: daemon.docker("exec", "writer", "touch", "/p/a", code=None).returncode == 0)
    assert program_of(daemon) != program
    daemon.docker("rm", "-f", "writer")
    assert (far / "a").exists()
    assert not list(daemon.exec_root.glob("programs/cloud/*"))


def test_a_program_that_hangs_is_told_and_nobody_else_waits(daemon: LiveDaemon, far: Path) -> None:
    create(daemon, far, "films")
    daemon.docker("run", "-d", "--name", "reader", "-v", "films:/p", *SLEEP)
    program = program_of(daemon)
    with stopped(program):
        wait_for("it to be found", lambda: health(daemon, "films") == "hanging: it gives no answer")
        assert daemon.docker("run", "--rm", "busybox", "echo", "fine", timeout=10).stdout == "fine\n"
    assert program_of(daemon) == program
    await_events(daemon, "films", "hanging", "ok")


def test_storage_mounted_on_the_host_that_hangs_or_fails_is_told_too(daemon: LiveDaemon, tmp_path: Path) -> None:
    with mounted_storage(tmp_path) as storage:
        options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={storage.place}")
        daemon.docker("volume", "create", *options, "host")
        daemon.docker("run", "-d", "--name", "user", "-v", "host:/p", *SLEEP)
        storage.hang()
        wait_for("it to hang", lambda: health(daemon, "host").startswith("hanging"))
        storage.heal()
        wait_for("it to be well", lambda: health(daemon, "host") == "ok")
        storage.fail()
        wait_for("it to be away", lambda: health(daemon, "host").startswith("away: Input/output error"))
        storage.heal()
        await_events(daemon, "host", "hanging", "ok", "away", "ok")
        daemon.docker("rm", "-f", "user")


@contextmanager
def webdav(directory: Path, port: int) -> Iterator[None]:
    """A NAS."""
    command = [program("rclone"), "serve", "webdav", directory, "--addr", f"127.0.0.1:{port}", "--config", os.devnull]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as server:
        try:
            wait_for("the server", lambda: not is_free(port))
            yield
        finally:
            server.kill()


def test_a_container_whose_storage_is_away_at_boot_waits_for_it(daemon: LiveDaemon, far: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    daemon.docker("volume", "create", "-d", "cloud", "-o", "type=webdav", "-o", f"rclone.url={url}", "share")
    script = "echo started >> /p/log; sync /p/log; sleep 1000"
    more = ("--restart", "always", "-v", "share:/p", "busybox", "sh", "-c", script)
    with webdav(far, port):
        daemon.docker("run", "-d", "--name", "app", *more)
        wait_for("it to have written", lambda: (far / "log").exists())
    pids = (daemon.inspect("container", "app")["State"]["Pid"], program_of(daemon))
    daemon.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    unmount(daemon.data_root / "drivers/cloud/share/_data", MNT_DETACH)
    daemon.start()
    state = wait_for("it to wait", lambda: waiting(daemon, "app"))
    assert "cannot be reached" in state["Error"]
    assert "container app waits for what it needs" in daemon.whole_log()
    assert not any((daemon.data_root / "drivers/cloud/share/_data").iterdir())
    with webdav(far, port):
        wait_for("it to run", lambda: daemon.inspect("container", "app")["State"]["Status"] == "running", 40)
        assert daemon.inspect("container", "app")["State"]["Error"] == ""
        wait_for("it to have written again", lambda: (far / "log").read_text() == "started\n" * 2)
        daemon.docker("rm", "-f", "app")


def waiting(ship: LiveDaemon, container: str) -> dict[str, Any]:
    state: dict[str, Any] = ship.inspect("container", container)["State"]
    return state if state["Status"] == "restarting" and state["Error"] else {}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
