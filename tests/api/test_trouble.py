"""Full disks, disks that cannot be written, a missing runtime, data roots of others: a clear word, and nothing lost."""

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, wait_for

DaemonMaker = Callable[..., LiveDaemon]
MEGABYTE = 1 << 20


@pytest.fixture
def tight(small_disk: Callable[[int], Path], make_daemon: DaemonMaker) -> Iterator[LiveDaemon]:
    """A daemon whose data root is on a disk of 96 MB."""
    disk = small_disk(96 * MEGABYTE)
    yield make_daemon(data_root=disk / "data")
    filler(disk / "data").unlink(missing_ok=True)


def filler(data_root: Path) -> Path:
    return data_root.parent / "filler"


def fill(data_root: Path, leave_bytes: int = 0) -> None:
    """Leave that much room and no more."""
    fd = os.open(filler(data_root), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    block = b"x" * MEGABYTE
    try:
        while (free := os.statvfs(data_root).f_bavail * os.statvfs(data_root).f_bsize - leave_bytes) > 0:
            os.write(fd, block[: min(free, MEGABYTE)])
        while not leave_bytes:
            os.write(fd, b"x" * 512)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    finally:
        os.close(fd)


def complains_of_the_disk(text: str) -> bool:
    return any(
        word in text.lower() for word in ("no space left", "disk is full", "disk full", "not enough", "disk i/o")
    )


def everything(daemon: LiveDaemon) -> tuple[object, ...]:
    listed = [daemon.docker(*command).stdout for command in (["ps", "-aq"], ["images", "-aq"], ["volume", "ls", "-q"])]
    return (*listed, frozenset(daemon.layer_folders()), frozenset(os.listdir(daemon.data_root / "volumes")))


def test_a_disk_that_fills_up_while_a_volume_is_filled(tight: LiveDaemon) -> None:
    tight.docker("run", "--name", "big", "busybox", "sh", "-c", "mkdir /d; head -c 12000000 /dev/zero > /d/zeros")
    tight.docker("commit", "big", "big")
    tight.docker("rm", "big")
    fill(tight.data_root, leave_bytes=8 * MEGABYTE)
    refused = tight.docker("run", "--rm", "-v", "data:/d", "big", "true", code=125)
    assert complains_of_the_disk(refused.stderr), refused.stderr
    if tight.volume_data("data").exists():
        assert not list(tight.volume_data("data").iterdir()), "a half-filled volume would be taken for a used one"
    filler(tight.data_root).unlink()
    assert "12000000" in tight.docker("run", "--rm", "-v", "data:/d", "big", "wc", "-c", "/d/zeros").stdout


def test_a_disk_without_room_for_a_container_or_a_word_in_the_journal(tight: LiveDaemon) -> None:
    tight.docker("run", "-v", "data:/d", "--name", "app", "busybox", "sh", "-c", "echo precious > /d/note")
    before = everything(tight)
    fill(tight.data_root)
    refused = [
        tight.docker("create", "--name", "more", "-v", "other:/x", "busybox", "true", code=None),
        *(tight.docker("volume", "create", f"v{number}" * 40, code=None) for number in range(40)),
    ]
    failed = [done for done in refused if done.returncode]
    assert failed, "the disk was not full"
    assert all(complains_of_the_disk(done.stderr) for done in failed), {done.stderr for done in failed}
    tight.docker("ps", "-a")
    filler(tight.data_root).unlink()
    tight.docker("rm", "-f", "more", code=None)
    for number in range(40):
        tight.docker("volume", "rm", "-f", f"v{number}" * 40)
    tight.docker("volume", "rm", "-f", "other")
    assert everything(tight)[:3] == before[:3]
    tight.restart()
    assert everything(tight)[:3] == before[:3]
    assert tight.volume_data("data").joinpath("note").read_text() == "precious\n"
    assert tight.docker("start", "-a", "app").stderr == ""


def test_a_container_that_fills_the_disk_hears_of_it_and_the_daemon_goes_on(tight: LiveDaemon) -> None:
    done = tight.docker("run", "--name", "greedy", "busybox", "dd", "if=/dev/zero", "of=/f", "bs=1M", code=1)
    assert "No space left" in done.stderr
    tight.docker("rm", "-v", "greedy")
    wait_for("the room to be there again", lambda: os.statvfs(tight.data_root).f_bavail * 4096 > 20 * MEGABYTE)
    tight.docker("run", "--rm", "-v", "data:/d", "busybox", "touch", "/d/x")


def test_a_data_root_that_cannot_be_written_is_refused(
    small_disk: Callable[[int], Path], make_daemon: DaemonMaker
) -> None:
    disk = small_disk(24 * MEGABYTE)
    daemon = make_daemon(data_root=disk / "data", start=False)
    (disk / "data").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    daemon.start(wait=False)
    assert daemon.wait_for_exit() != 0
    assert "Read-only file system" in daemon.logs()
    assert str(disk / "data") in daemon.logs()
    assert "Traceback" not in daemon.logs()
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    daemon.start()


def test_a_disk_that_becomes_read_only_is_told_and_comes_back(
    small_disk: Callable[[int], Path], make_daemon: DaemonMaker
) -> None:
    disk = small_disk(48 * MEGABYTE)
    daemon = make_daemon(data_root=disk / "data")
    daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo precious > /d/note")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=False)
    daemon.docker("volume", "inspect", "data")
    refused = daemon.docker("volume", "create", "more", code=None)
    if refused.returncode == 0:
        pytest.fail("a volume was created on a disk that cannot be written") if os.statvfs(
            disk
        ).f_flag & os.ST_RDONLY else None
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    daemon.restart()
    assert daemon.volume_data("data").joinpath("note").read_text() == "precious\n"
    daemon.docker("volume", "create", "more")


def test_a_runtime_that_is_missing_is_named(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon(arguments=["--runtime", "/no/such/runtime"], start=False)
    daemon.start(wait=False)
    assert daemon.wait_for_exit() != 0
    assert "/no/such/runtime" in daemon.logs()
    assert "Traceback" not in daemon.logs()
    daemon.arguments = []


def test_the_data_root_of_another_engine_is_refused(make_daemon: DaemonMaker, tmp_path: Path) -> None:
    for name, engine in (("engine-id", "Docker"), ("libpod", "Podman"), ("holiday-pictures", "Orlop")):
        root = tmp_path / engine
        (root / name).mkdir(parents=True)
        daemon = make_daemon(data_root=root, start=False)
        daemon.start(wait=False)
        assert daemon.wait_for_exit() != 0
        assert engine in daemon.logs()
        assert "--data-root" in daemon.logs()
        assert [entry.name for entry in root.iterdir()] == [name], "nothing was touched"
        (root / name).rmdir()
        daemon.process = None


def test_a_data_root_in_use_and_a_newer_format_are_refused(make_daemon: DaemonMaker) -> None:
    first = make_daemon()
    second = make_daemon(data_root=first.data_root, start=False)
    second.start(wait=False)
    assert second.wait_for_exit() != 0
    assert "in use" in second.logs()
    second.process, second.data_root = None, second.home / "data"
    first.stop()
    written = first.data_root / "orlop/FORMAT"
    number = written.read_text()
    written.write_text("999\n")
    first.start(wait=False)
    assert first.wait_for_exit() != 0
    assert "999" in first.logs()
    written.write_text(number)
    first.start()


def test_a_socket_that_another_daemon_listens_on_is_refused(make_daemon: DaemonMaker) -> None:
    first = make_daemon()
    second = make_daemon(start=False)
    own, second.host = second.host, first.host
    second.start(wait=False)
    assert second.wait_for_exit() != 0
    assert str(first.socket) in second.logs()
    first.docker("version")
    second.host, second.process = own, None


def test_settings_by_file(make_daemon: DaemonMaker, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"storage-driver": "vfs"}')
    daemon = make_daemon(arguments=["--config", str(file)])
    assert json.loads(daemon.docker("info", "--format", "{{json .Driver}}").stdout) == "vfs"
    assert daemon.docker("run", "--rm", "busybox", "echo", "works").stdout == "works\n"
    file.write_text('{"no-such-setting": 1}')
    daemon.stop()
    daemon.start(wait=False)
    assert daemon.wait_for_exit() != 0
    assert "no-such-setting" in daemon.logs()
    file.write_text("{}")
    daemon.arguments = ["--storage-driver", "vfs"]
