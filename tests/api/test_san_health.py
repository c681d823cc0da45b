"""Volumes on a SAN while containers use them: a program that is killed and storage that is cut off are found, told, and
followed by what the volume's policy says; what was synced is there afterwards."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.runtimes.cgroups import find_layout, is_frozen
from support.daemon import LiveDaemon, wait_for
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san

pytestmark = needs_san
SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[IscsiTarget]:
    with iscsi_target(tmp_path, 1) as found:
        yield found


def create(ship: LiveDaemon, target: IscsiTarget, *more: str) -> None:
    options = (*(f"{key}={value}" for key, value in target.options(1).items()), *more)
    ship.docker("volume", "create", "-d", "san", *(word for each in options for word in ("-o", each)), "db")


def program_of(ship: LiveDaemon) -> int:
    (found,) = [
        int(place.name)
        for place in Path("/proc").iterdir()
        if place.name.isdigit() and str(ship.exec_root).encode() in _arguments(place)
    ]
    return found


def _arguments(process: Path) -> bytes:
    try:
        found = (process / "cmdline").read_bytes()
    except OSError:
        return b""
    return found if found.split(b"\0")[0].endswith(b"qemu-storage-daemon") else b""


def health(ship: LiveDaemon) -> str:
    found: str = ship.inspect("volume", "db")["Status"]["Health"]
    return found


def running_since(ship: LiveDaemon, container: str) -> str:
    state = ship.inspect("container", container)["State"]
    return str(state["StartedAt"]) if state["Status"] == "running" else ""


def test_who_may_be_restarted_is_when_its_program_is_killed_and_nobody_gets_an_empty_directory(
    target: IscsiTarget, daemon: LiveDaemon
) -> None:
    create(daemon, target)
    daemon.docker("run", "-d", "--name", "plain", "-v", "db:/d", *SLEEP)
    script = (
        "cat /d/kept; [ -e /d/kept ] || { echo kept > /d/kept; sync -f /d/kept; touch /d/synced; }; exec sleep 1000"
    )
    daemon.docker(
        *("run", "-d", "--name", "restarts", "--restart", "on-failure", "-v", "db:/d", "busybox", "sh", "-c", script)
    )
    has_synced = ("exec", "plain", "test", "-e", "/d/synced")
    wait_for("it to have synced", lambda: daemon.docker(*has_synced, code=None).returncode == 0)
    started = running_since(daemon, "restarts")
    os.kill(program_of(daemon), signal.SIGKILL)
    wait_for("it to run again", lambda: running_since(daemon, "restarts") not in ("", started), 40)
    wait_for("it to have read", lambda: "kept" in daemon.docker("logs", "restarts").stdout)
    assert "is killed: volume db is stale: the program that speaks to its device ended" in daemon.whole_log()
    wait_for("what is left to be told", lambda: "container plain has a mount of it that is dead" in health(daemon))
    assert daemon.docker("exec", "plain", "sh", "-c", "echo x | dd of=/d/new conv=fsync", code=None).returncode
    daemon.docker("restart", "-t", "0", "plain")
    assert daemon.docker("exec", "plain", "cat", "/d/kept").stdout == "kept\n"
    wait_for("it to be well", lambda: health(daemon) == "ok")
    daemon.docker("rm", "-f", "plain", "restarts")


def test_storage_that_is_cut_off_is_found_and_its_containers_stand_still(
    target: IscsiTarget, daemon: LiveDaemon
) -> None:
    create(daemon, target, "on-hang=freeze")
    user = daemon.docker("run", "-d", "--name", "user", "-v", "db:/d", *SLEEP).stdout.strip()
    daemon.docker("exec", "user", "sh", "-c", "echo kept > /d/a; sync -f /d/a")
    wait_for("it to be well", lambda: health(daemon) == "ok")
    target.stop()
    wait_for("it to be found", lambda: health(daemon) == "hanging: its device gives no answer")
    wait_for("it to stand still", lambda: is_frozen(f"/orlop/{user}", find_layout()))
    target.start()
    wait_for("it to be back", lambda: health(daemon) == "ok", 40)
    wait_for("it to go on", lambda: daemon.docker("exec", "user", "cat", "/d/a", code=None).stdout == "kept\n")
    daemon.docker("rm", "-f", "user")


def test_who_waits_for_storage_that_is_cut_off_is_killed_and_started_when_it_is_back(
    target: IscsiTarget, daemon: LiveDaemon
) -> None:
    create(daemon, target, "on-hang=kill", "hang-timeout=1")
    script = "cat /d/n; while :; do echo $$ > /d/n; sync -f /d/n; done"
    daemon.docker("run", "-d", "--name", "db", "--restart", "always", "-v", "db:/d", "busybox", "sh", "-c", script)
    wait_for("it to have written", lambda: daemon.docker("exec", "db", "cat", "/d/n", code=None).stdout)
    started = running_since(daemon, "db")
    target.stop()
    wait_for("it to be killed", lambda: daemon.inspect("container", "db")["State"]["Status"] == "restarting", 60)
    target.boot()
    missed = lambda: "Target not found" in daemon.inspect("container", "db")["State"]["Error"]  # noqa: E731
    wait_for("it to miss its target", missed, 60)
    assert daemon.inspect("container", "db")["State"]["Status"] == "restarting", "it waits for that, too"
    target.show()
    wait_for("it to run again", lambda: running_since(daemon, "db") not in ("", started), 60)
    wait_for("it to have read", lambda: daemon.docker("logs", "db").stdout.strip())
    daemon.docker("rm", "-f", "db")
