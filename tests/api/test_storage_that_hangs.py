"""What follows for containers when their volume's storage gives no answer, by the volume's option on-hang: they wait,
stand still, are killed, or get errors. Nobody else notices."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.drivers.runtimes.cgroups import CgroupLayout, find_layout, is_frozen
from support.daemon import LiveDaemon, wait_for
from support.storage import Storage, mounted_storage

SLEEP = ("busybox", "sleep", "1000")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
pytestmark = needs_root


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with mounted_storage(tmp_path) as found:
        yield found


def create(ship: LiveDaemon, storage: Storage, *more: str, name: str = "far", code: int = 0) -> str:
    options = ("type=none", "o=bind", f"device={storage.place}", *more)
    words = [word for option in options for word in ("-o", option)]
    return ship.docker("volume", "create", *words, name, code=code).stderr


def run(ship: LiveDaemon, name: str, *more: str, command: tuple[str, ...] = SLEEP) -> str:
    return ship.docker("run", "-d", "--name", name, "-v", "far:/f", *more, *command).stdout.strip()


def state(ship: LiveDaemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = ship.inspect("container", container)["State"]
    return found


def stands_still(container_id: str) -> bool:
    """By the kernel's word."""
    return is_frozen(f"/orlop/{container_id}", find_layout())


def await_frozen(ship: LiveDaemon, container_id: str) -> None:
    wait_for("it to stand still", lambda: stands_still(container_id))
    wait_for("that to be told", lambda: state(ship, container_id)["Error"])


def await_thawed(ship: LiveDaemon, container_id: str) -> None:
    wait_for("it to go on", lambda: not stands_still(container_id) and not state(ship, container_id)["Error"])


def told(ship: LiveDaemon, container: str) -> list[str]:
    said = ship.docker(
        *("events", "--since", "0", "--until", "0s", "--filter", f"container={container}"),
        *("--filter", "event=freeze", "--filter", "event=thaw", "--format", "{{.Action}}"),
    )
    return said.stdout.split()


def test_its_containers_stand_still_until_it_is_back_and_nobody_else_does(daemon: LiveDaemon, storage: Storage) -> None:
    create(daemon, storage)
    user = run(daemon, "user")
    other = daemon.docker("run", "-d", "--name", "other", *SLEEP).stdout.strip()
    storage.hang()
    wait_for("it to be told", lambda: daemon.inspect("volume", "far")["Status"]["Health"].startswith("hanging"))
    assert not stands_still(user), "its users wait, unless it says something else"
    daemon.orlop("volume", "update", "--opt", "on-hang=freeze", "far")
    await_frozen(daemon, user)
    seen = state(daemon, "user")
    assert seen["Error"] == "frozen until its storage answers: volume far is hanging: it gives no answer"
    assert (seen["Status"], seen["Running"], seen["Paused"]) == ("running", True, False)
    assert daemon.inspect("volume", "far")["Status"]["Health"].startswith("hanging")
    assert "(Frozen)" in daemon.docker("ps", "--filter", "name=user", "--format", "{{.Status}}").stdout
    assert "frozen until" in daemon.docker("exec", "user", "true", code=1).stderr
    assert not stands_still(other)
    assert daemon.docker("exec", "other", "echo", "fine").stdout == "fine\n"
    storage.heal()
    await_thawed(daemon, user)
    daemon.docker("exec", "user", "sh", "-c", "echo back > /f/a")
    assert (storage.behind / "a").read_text() == "back\n"
    wait_for("both to be told", lambda: told(daemon, "user") == ["freeze", "thaw"])
    daemon.docker("rm", "-f", "user")


def test_a_pause_of_the_user_is_another_matter(daemon: LiveDaemon, storage: Storage) -> None:
    create(daemon, storage, "on-hang=freeze")
    user = run(daemon, "user")
    storage.hang()
    await_frozen(daemon, user)
    daemon.docker("pause", "user")
    storage.heal()
    wait_for("that it is back to be told", lambda: not state(daemon, "user")["Error"])
    assert stands_still(user) and state(daemon, "user")["Status"] == "paused"
    storage.hang()
    wait_for("that it hangs to be told", lambda: state(daemon, "user")["Error"])
    daemon.docker("unpause", "user")
    assert stands_still(user) and state(daemon, "user")["Status"] == "running"
    storage.heal()
    await_thawed(daemon, user)
    daemon.docker("rm", "-f", "user")


def test_a_daemon_that_is_killed_leaves_it_frozen_and_the_next_one_sees_how_the_storage_is(
    daemon: LiveDaemon, storage: Storage
) -> None:
    create(daemon, storage, "on-hang=freeze")
    user = run(daemon, "user")
    storage.hang()
    await_frozen(daemon, user)
    daemon.restart()
    wait_for("it to be found again", lambda: daemon.inspect("volume", "far")["Status"]["Health"].startswith("hanging"))
    assert stands_still(user) and "frozen until" in state(daemon, "user")["Error"]
    assert told(daemon, "user") == []
    daemon.kill()
    storage.heal()
    assert stands_still(user)
    daemon.start()
    await_thawed(daemon, user)
    daemon.docker("rm", "-f", "user")


def test_who_stands_still_can_be_ended(daemon: LiveDaemon, storage: Storage) -> None:
    create(daemon, storage, "on-hang=freeze")
    commands = {"stopped": ("stop", "-t", "0"), "removed": ("rm", "-f"), "killed": ("kill",)}
    users = {name: run(daemon, name, "--restart", "always") for name in commands}
    storage.hang()
    for user in users.values():
        await_frozen(daemon, user)
    quiet = subprocess.DEVNULL
    ending = [daemon.spawn(*commands[name], name, stdout=quiet, stderr=quiet) for name in users]
    for user in users.values():
        wait_for("its processes to end", lambda user=user: not _has_processes(user))  # type: ignore[misc]
    storage.heal()
    assert [process.wait(30) for process in ending] == [0, 0, 0]
    for name in ("stopped", "killed"):
        assert state(daemon, name)["Status"] == "exited" and state(daemon, name)["Error"] == ""
    daemon.docker("rm", "-f", "stopped", "killed")


def _has_processes(container_id: str) -> bool:
    tree = "/sys/fs/cgroup" if find_layout() is CgroupLayout.UNIFIED else "/sys/fs/cgroup/freezer"
    try:
        return bool(Path(f"{tree}/orlop/{container_id}/cgroup.procs").read_text().strip())
    except FileNotFoundError:
        return False


def test_its_containers_are_killed_and_come_back_with_it(daemon: LiveDaemon, storage: Storage) -> None:
    create(daemon, storage, "on-hang=kill", "hang-timeout=1")
    run(daemon, "comes-back", "--restart", "on-failure")
    run(daemon, "stays-away")
    storage.hang()
    wait_for("it to be killed", lambda: state(daemon, "stays-away")["Status"] == "exited", 60)
    assert state(daemon, "stays-away")["ExitCode"] == 137
    wait_for("the other to wait", lambda: state(daemon, "comes-back")["Status"] == "restarting")
    storage.heal()
    wait_for("it to run", lambda: state(daemon, "comes-back")["Status"] == "running", 60)
    assert state(daemon, "stays-away")["Status"] == "exited"
    assert "is killed: volume far is hanging" in daemon.whole_log()
    daemon.docker("rm", "-f", "comes-back", "stays-away")


def program_of(ship: LiveDaemon) -> int:
    (pid,) = [
        int(found.name)
        for found in Path("/proc").iterdir()
        if found.name.isdigit() and str(ship.data_root).encode() in _arguments(found) and b"mount" in _arguments(found)
    ]
    return pid


def _arguments(process: Path) -> bytes:
    try:
        found = (process / "cmdline").read_bytes()
    except OSError:
        return b""
    return found if found.split(b"\0")[0].endswith(b"rclone") else b""


def test_who_waits_gets_an_error_and_the_mount_is_made_anew(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    options = ("type=alias", f"rclone.remote={tmp_path / 'there'}", "on-hang=fail", "hang-timeout=1")
    daemon.docker("volume", "create", "-d", "cloud", *(w for each in options for w in ("-o", each)), "far")
    run(daemon, "user")
    program = program_of(daemon)
    os.kill(program, signal.SIGSTOP)
    said = daemon.docker("exec", "user", "sh", "-c", "ls /f/x", code=1, timeout=60).stderr
    assert "No such file" not in said
    wait_for("it to be mended", lambda: daemon.docker("exec", "user", "touch", "/f/a", code=None).returncode == 0, 60)
    assert program_of(daemon) != program
    daemon.docker("rm", "-f", "user")
    assert (tmp_path / "there/a").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("on-hang=panic",), "on-hang is 'panic', and can be wait, freeze, kill, fail"),
        (("on-hang=kill", "hang-timeout=soon"), "hang-timeout is 'soon'"),
        (("hang-timeout=5",), "hang-timeout is for on-hang=kill and on-hang=fail"),
        (("on-hang=freeze",), "this volume's is a part of this host"),
        (("type=nfs", "device=nas:/x", "on-hang=fail"), "the driver local cannot end what waits"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(daemon: LiveDaemon, options: tuple[str, ...], said: str) -> None:
    words = [word for option in options for word in ("-o", option)]
    assert said in daemon.docker("volume", "create", *words, "far", code=1).stderr
