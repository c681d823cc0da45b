"""Mounting by a process of its own."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_mount
from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import HostFailure, Unavailable
from orlop.kernel import mount_process
from orlop.kernel.mount_process import mount_within, unmount_within
from orlop.kernel.mounts import MNT_DETACH, is_mount_point, mounts_at_or_below, unmount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

SILENT = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def test_it_mounts_here_and_unmounts_again(place: Path) -> None:
    mount_within(30, "tmpfs", str(place), "tmpfs", 0, "size=1m")
    assert is_mount_point(place)
    unmount_within(30, str(place))
    assert not is_mount_point(place)


def test_the_kernel_s_answer_comes_back(place: Path) -> None:
    with pytest.raises(OSError) as refused:
        mount_within(30, "x", str(place), "no-such-type", 0, "")
    assert refused.value.errno == errno.ENODEV
    with pytest.raises(OSError) as refused:
        unmount_within(30, str(place))
    assert refused.value.errno == errno.EINVAL


def test_no_answer_in_time_is_an_error_and_the_process_is_killed(place: Path) -> None:
    with pytest.raises(TimeoutError, match="no answer within"):
        mount_within(0.2, "x", str(place), "nfs", 0, "", SILENT)


def test_a_child_that_dies_is_told_with_its_last_words(place: Path) -> None:
    with pytest.raises(OSError, match="last words"):
        mount_within(30, "x", str(place), "nfs", 0, "", (sys.executable, "-c", "raise SystemExit('last words')"))


def test_a_silent_server_fails_the_attach_of_its_volume_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = LocalVolumes(place / "volumes")
    driver.create("nas", {"type": "nfs", "device": ":/export", "o": "addr=127.0.0.1"}, "")
    driver.create("plain", {}, "")
    monkeypatch.setattr(local_mount, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(
        local_mount, "mount_within", lambda *arguments: mount_process.mount_within(*arguments, command=SILENT)
    )
    with pytest.raises(Unavailable, match="no answer within"):
        driver.attach("nas", "1" * 64)
    driver.attach("plain", "1" * 64)
    driver.retire("nas", "2" * 64, "")
    driver.close()


def test_a_file_system_that_this_kernel_lacks_is_named(place: Path) -> None:
    driver = LocalVolumes(place / "volumes")
    driver.create("odd", {"type": "oddfs", "device": "server:/x"}, "")
    with pytest.raises(HostFailure, match="no file system of the type oddfs"):
        driver.attach("odd", "1" * 64)
    driver.close()
