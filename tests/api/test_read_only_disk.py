"""The disk under the data root becomes read-only, as a file system does that met an error."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon


@pytest.fixture
def daemon(small_disk: Callable[[int], Path], make_daemon: DaemonMaker) -> LiveDaemon:
    return make_daemon(data_root=small_disk(48 << 20) / "root")


def test_everything_is_told_and_after_a_repair_nothing_is_half_made(daemon: LiveDaemon, busybox_tar: Path) -> None:
    daemon.docker("volume", "create", "before")
    disk = daemon.data_root.parent
    # What ext4 does by itself when it meets an error it cannot go on with.
    subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
    attempts = [
        ("volume", "create", "another"),
        ("create", "--network", "none", "--name", "other", "busybox", "true"),
        ("import", busybox_tar, "again"),
        ("volume", "rm", "before"),
    ]
    for attempt in attempts:
        answer = daemon.docker(*attempt, code=None)
        assert answer.returncode, attempt
        assert any(word in answer.stderr for word in ("Read-only file system", "readonly", "disk I/O")), attempt
        assert "internal error" not in answer.stderr, attempt
    assert "busybox" in daemon.docker("images").stdout
    assert "before" in daemon.docker("volume", "ls").stdout
    daemon.docker("ps", "-a")
    daemon.kill()
    subprocess.run(["umount", disk], check=True)
    subprocess.run(["e2fsck", "-p", disk.with_name("disk.img")], check=False)
    subprocess.run(["mount", "-o", "loop", disk.with_name("disk.img"), disk], check=True)
    daemon.start()
    assert disorder(daemon) == []
    assert "before" in daemon.docker("volume", "ls").stdout
    assert daemon.docker("run", "--rm", "--network", "none", "busybox", "echo", "works").stdout == "works\n"


def test_a_start_is_refused_with_the_place_and_the_reason(daemon: LiveDaemon) -> None:
    daemon.stop()
    disk = daemon.data_root.parent
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        daemon.start(wait=False)
        assert daemon.wait_for_exit() not in (0, None)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    said = daemon.logs()
    assert "Read-only file system" in said
    assert str(daemon.data_root) in said
    assert "Traceback" not in said
    daemon.start()
    assert disorder(daemon) == []
