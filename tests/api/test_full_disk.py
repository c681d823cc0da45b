"""A disk that is really full under a live daemon: everybody is told, nothing breaks, and with room again all works."""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon

NO_SPACE = "No space left on device"


@pytest.fixture
def small(small_disk: Callable[[int], Path], make_daemon: DaemonMaker) -> Iterator[LiveDaemon]:
    """A daemon whose data root has 48 MB, with an image and a volume with a note."""
    daemon = make_daemon(data_root=small_disk(48 << 20) / "root")
    run(daemon, "echo kept > /data/note")
    yield daemon
    assert (daemon.volume_data("data") / "note").read_text() == "kept\n"


def run(daemon: LiveDaemon, script: str, code: int | None = 0) -> str:
    done = daemon.docker(
        "run", "--rm", "--network", "none", "-v", "data:/data", "busybox", "sh", "-c", script, code=code
    )
    return done.stdout + done.stderr


@contextmanager
def filled(daemon: LiveDaemon) -> Iterator[None]:
    """Not a byte is free while this is open."""
    filler = daemon.data_root.parent / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                os.fsync(file.fileno())
    try:
        yield
    finally:
        filler.unlink()


def rootfs_of(size_bytes: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("large")
        member.size = size_bytes
        tar.addfile(member, io.BytesIO(os.urandom(size_bytes)))
    return out.getvalue()


@pytest.mark.parametrize("megabytes", [24, 60], ids=["unpacking fills it", "the upload fills it"])
def test_an_image_too_large_is_refused_and_the_room_is_free_again(small: LiveDaemon, megabytes: int) -> None:
    told = small.docker("import", "-", "large", stdin=rootfs_of(megabytes << 20), code=None)
    assert told.returncode != 0
    assert NO_SPACE in told.stderr
    assert disorder(small) == []
    small.docker("import", "-", "fits", stdin=rootfs_of(8 << 20))
    small.docker("rmi", "fits")
    assert run(small, "cat /data/note") == "kept\n"


def test_on_a_full_disk_nothing_new_is_made_and_everything_is_still_told(small: LiveDaemon, busybox_tar: Path) -> None:
    attempts = [
        ("volume", "create", "another"),
        ("create", "--network", "none", "--name", "other", "busybox", "true"),
        ("import", busybox_tar, "again"),
    ]
    with filled(small):
        told = [small.docker(*attempt, code=None) for attempt in attempts]
        assert "data" in small.docker("volume", "ls", "-q").stdout
        assert "busybox" in small.docker("images").stdout
        small.docker("ps", "-a")
    for attempt, answer in zip(attempts, told, strict=True):
        if answer.returncode:
            assert "space" in answer.stderr or "full" in answer.stderr, attempt
    assert any(answer.returncode for answer in told)
    small.stop()
    small.start()
    assert disorder(small) == []
    assert run(small, "cat /data/note") == "kept\n"


def test_a_daemon_that_starts_on_a_full_disk_says_so_or_serves(small: LiveDaemon) -> None:
    small.docker("run", "-d", "--name", "sleeper", "--network", "none", "-v", "data:/data", "busybox", "sleep", "1000")
    small.kill()
    with filled(small):
        small.start(wait=False)
        try:
            small.wait_until_it_answers()
        except AssertionError:
            assert "space" in small.logs() or "full" in small.logs()
        else:
            assert small.docker("exec", "sleeper", "cat", "/data/note", code=None).stdout == "kept\n", small.logs()
    if not small.is_running:
        small.start()
    assert small.docker("exec", "sleeper", "cat", "/data/note").stdout == "kept\n"
    small.docker("rm", "-f", "sleeper")
    small.stop()
    small.start()
    assert disorder(small) == []
