"""Volumes on devices of a SAN, with the stock CLI: filled, found on the device, kept whatever is killed."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel.process import parent_pid
from support.daemon import LiveDaemon, wait_for
from support.iscsi_target import NAME, IscsiTarget, iscsi_target, nbd_server, needs_san

pytestmark = needs_san


@pytest.fixture
def target(tmp_path: Path) -> Iterator[IscsiTarget]:
    with iscsi_target(tmp_path, 1, 2) as found:
        yield found


def create(daemon: LiveDaemon, name: str, options: dict[str, str], code: int = 0) -> str:
    given = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    return daemon.docker("volume", "create", "-d", "san", *given, name, code=code).stderr


def programs(daemon: LiveDaemon) -> list[int]:
    found = []
    for record in (daemon.exec_root / "programs/san/programs").glob("*/program.json"):
        pid = json.loads(record.read_text())["pid"]
        if Path(f"/proc/{pid}").exists():
            found.append(int(pid))
    return found


def read_device(path: Path, name: str, place: Path) -> str:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,ro,noload", path, place], check=True)
    try:
        return (place / name).read_text()
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_containers_write_is_on_the_device(target: IscsiTarget, daemon: LiveDaemon, tmp_path: Path) -> None:
    create(daemon, "db", target.options(1))
    assert daemon.inspect("volume", "db")["Driver"] == "san"
    daemon.docker("run", "--rm", "-v", "db:/d", "busybox", "sh", "-c", "echo hi > /d/a")
    assert read_device(target.luns[1], "a", tmp_path / "seen") == "hi\n"
    assert not programs(daemon)
    shared = ["run", "-d", "-v", "db:/d", "busybox", "sleep", "1000"]
    first, second = (daemon.docker(*shared).stdout.strip() for _ in range(2))
    daemon.docker("exec", first, "sh", "-c", "echo both > /d/b")
    assert daemon.docker("exec", second, "cat", "/d/b").stdout == "both\n"
    daemon.docker("rm", "-f", first)
    assert daemon.docker("exec", second, "cat", "/d/b").stdout == "both\n"
    daemon.docker("rm", "-f", second)
    assert not programs(daemon)
    daemon.docker("volume", "rm", "db")
    assert read_device(target.luns[1], "b", tmp_path / "seen") == "both\n"


def test_a_new_volume_is_filled_from_its_image(target: IscsiTarget, daemon: LiveDaemon) -> None:
    create(daemon, "db", {**target.options(1), "fstype": "ext4"})
    said = daemon.docker("run", "--rm", "-v", "db:/bin", "busybox", "ls", "/bin").stdout
    assert "busybox" in said
    assert "busybox" in daemon.docker("run", "--rm", "-v", "db:/d", "busybox", "ls", "/d").stdout


def test_what_is_refused_is_told_with_the_way_out(target: IscsiTarget, daemon: LiveDaemon) -> None:
    assert 'missing required option: "lun"' in create(daemon, "bad", {"portal": target.portal, "target": NAME}, 1)
    create(daemon, "db", target.options(1))
    assert "is the device of the volume db already" in create(daemon, "two", target.options(1), 1)
    target.stop()
    with target.luns[2].open("r+b") as device:
        device.write(b"precious")
    target.start()
    create(daemon, "precious", target.options(2))
    said = daemon.docker("run", "--rm", "-v", "precious:/d", "busybox", "true", code=125).stderr
    assert "holds something (data that no program here knows)" in said and "wipefs" in said
    with target.luns[2].open("rb") as device:
        assert device.read(8) == b"precious"
    target.stop()
    said = daemon.docker("run", "--rm", "-v", "db:/d", "busybox", "true", code=125).stderr
    assert "nobody takes the connection" in said


def test_containers_notice_nothing_of_a_killed_daemon(target: IscsiTarget, daemon: LiveDaemon) -> None:
    create(daemon, "db", target.options(1))
    script = "i=0; while true; do i=$((i+1)); echo $i > /d/n; sleep 0.05; done"
    container = daemon.docker("run", "-d", "-v", "db:/d", "busybox", "sh", "-c", script).stdout.strip()
    (program,) = programs(daemon)
    assert parent_pid(program) == daemon.pid
    daemon.kill()
    assert programs(daemon) == [program]
    daemon.start()
    before = daemon.docker("exec", container, "cat", "/d/n").stdout
    wait_for("it to go on", lambda: daemon.docker("exec", container, "cat", "/d/n").stdout != before)
    assert programs(daemon) == [program]
    daemon.docker("rm", "-f", container)
    assert not programs(daemon)


def test_a_killed_program_ends_with_the_next_start(target: IscsiTarget, daemon: LiveDaemon) -> None:
    create(daemon, "db", target.options(1))
    daemon.docker("run", "-d", "--name", "user", "-v", "db:/d", "busybox", "sleep", "1000")
    daemon.docker("exec", "user", "sh", "-c", "echo kept > /d/a; sync -f /d/a")
    (program,) = programs(daemon)
    os.kill(program, signal.SIGKILL)
    assert daemon.docker("exec", "user", "sh", "-c", "echo x | dd of=/d/b conv=fsync", code=None).returncode
    daemon.docker("restart", "-t", "0", "user")
    assert daemon.docker("exec", "user", "cat", "/d/a").stdout == "kept\n"
    assert programs(daemon) != [program]
    daemon.docker("rm", "-f", "user")


def test_nbd_with_xfs(daemon: LiveDaemon, tmp_path: Path) -> None:
    with nbd_server(tmp_path, 320 << 20) as server:
        create(daemon, "db", {**server.options(), "fstype": "xfs"})
        daemon.docker("run", "--rm", "-v", "db:/d", "busybox", "sh", "-c", "echo hi > /d/a")
        assert daemon.docker("run", "--rm", "-v", "db:/d", "busybox", "cat", "/d/a").stdout == "hi\n"
        said = daemon.docker("run", "--rm", "-v", "db:/d", "busybox", "grep", " /d ", "/proc/mounts").stdout
        assert " xfs " in said
