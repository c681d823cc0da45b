"""Volumes of somebody else's plugin while containers use them: mounts that died are found, told, and asked for anew."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.runtimes.cgroups import find_layout, is_frozen
from support.daemon import LiveDaemon, wait_for
from support.rclone_plugin import RclonePlugin

SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture
def plugin(daemon: LiveDaemon, tmp_path: Path) -> Iterator[RclonePlugin]:
    (tmp_path / "far/dir").mkdir(parents=True)
    found = RclonePlugin(
        daemon.plugins, tmp_path / "rclone", {"far": {"TYPE": "alias", "REMOTE": str(tmp_path / "far")}}
    )
    found.start()
    yield found
    if found.process is None:
        found.start()
    daemon.clear()
    found.close()
    found.socket.unlink(missing_ok=True)


def health(ship: LiveDaemon) -> str:
    found: str = ship.inspect("volume", "photos")["Status"]["Health"]
    return found


def test_a_plugin_that_is_killed_and_started_again_gives_running_containers_their_files_back(
    daemon: LiveDaemon, plugin: RclonePlugin, tmp_path: Path
) -> None:
    (tmp_path / "far/dir/a").write_text("kept\n")
    daemon.docker("volume", "create", "-d", "rclone", "-o", "remote=far:dir", "photos")
    for name in ("one", "two"):
        daemon.docker("run", "-d", "--name", name, "-v", "photos:/p", *SLEEP)
    assert daemon.docker("exec", "one", "cat", "/p/a").stdout == "kept\n"
    plugin.kill()
    wait_for("it to be told", lambda: health(daemon) != "ok")
    assert "kept" not in daemon.docker("exec", "one", "sh", "-c", "cat /p/a; echo lost > /p/b", code=None).stdout
    plugin.start()
    for name in ("one", "two"):
        read = lambda name=name: daemon.docker("exec", name, "cat", "/p/a", code=None).stdout == "kept\n"  # noqa: E731
        wait_for(f"{name} to read again", read, 60)
    wait_for("it to be well", lambda: health(daemon) == "ok")
    assert not (tmp_path / "far/dir/b").exists()
    daemon.docker("rm", "-f", "one")
    assert daemon.docker("exec", "two", "cat", "/p/a").stdout == "kept\n"
    daemon.docker("rm", "-f", "two")
    daemon.docker("volume", "rm", "photos")


def test_a_plugin_whose_mount_hangs_is_told_and_its_containers_stand_still(
    daemon: LiveDaemon, plugin: RclonePlugin
) -> None:
    daemon.docker("volume", "create", "-d", "rclone", "-o", "remote=far:dir", "-o", "on-hang=freeze", "photos")
    user = daemon.docker("run", "-d", "--name", "one", "-v", "photos:/p", *SLEEP).stdout.strip()
    assert plugin.process is not None
    os.kill(plugin.process.pid, signal.SIGSTOP)
    try:
        wait_for("it to stand still", lambda: is_frozen(f"/orlop/{user}", find_layout()))
        wait_for("it to be told", lambda: "frozen until" in daemon.inspect("container", "one")["State"]["Error"])
    finally:
        os.kill(plugin.process.pid, signal.SIGCONT)
    wait_for("it to go on", lambda: not is_frozen(f"/orlop/{user}", find_layout()))
    daemon.docker("rm", "-f", "one")
