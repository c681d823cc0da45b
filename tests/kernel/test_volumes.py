"""Volumes on a real kernel: mounts below them, links swapped under us, disks that are full or read-only."""

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Conflict, HostFailure
from orlop.kernel.mounts import (
    MNT_DETACH,
    MS_RDONLY,
    MS_REMOUNT,
    bind,
    is_mount_point,
    mount,
    mounts_at_or_below,
    unmount,
)
from orlop.store.files import remove_tree
from support.disks import mounted_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

ID = "a" * 64


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "volumes"
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


@pytest.fixture
def driver(root: Path) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(root)
    yield driver
    driver.close()


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Somebody else's data, which must come through everything."""
    path = tmp_path / "precious"
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "note").write_text("kept")
    return path


def is_safe(precious: Path) -> bool:
    return (precious / "sub" / "note").read_text() == "kept"


@pytest.mark.parametrize("below", ["", "share", "deep/er/share"])
def test_a_mount_below_a_volume_stops_its_removal(driver: LocalVolumes, root: Path, precious: Path, below: str) -> None:
    driver.create("data", {}, "")
    target = root / "data" / "_data" / below
    target.mkdir(parents=True, exist_ok=True)
    bind(precious, target)
    with pytest.raises(Conflict) as refused:
        driver.retire("data", ID, "")
    assert str(target) in refused.value.message
    assert driver.get("data").name == "data"
    assert is_safe(precious)
    unmount(target)
    driver.retire("data", ID, "")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_mount_below_a_retired_volume_stops_its_purge_and_nothing_under_it_is_touched(
    driver: LocalVolumes, root: Path, precious: Path, read_only: bool
) -> None:
    driver.create("data", {}, "")
    (root / "data" / "_data" / "share").mkdir()
    (root / "data" / "_data" / "own").write_text("mine")
    driver.retire("data", ID, "")
    target = root / ".retired" / ID / "_data" / "share"
    bind(precious, target, read_only=read_only)
    with pytest.raises(Conflict) as refused:
        driver.purge(ID)
    assert str(target) in refused.value.message
    assert driver.list_retired() == [ID]
    unmount(target)
    driver.purge(ID)
    driver.cleanup()
    assert is_safe(precious) and os.listdir(root / ".purging") == []


def test_a_mount_that_comes_after_the_purge_was_decided_is_not_crossed(
    driver: LocalVolumes, root: Path, precious: Path
) -> None:
    for name, retired_id in (("data", ID), ("other", "b" * 64)):
        driver.create(name, {}, "")
        (root / name / "_data" / "share").mkdir()
        driver.retire(name, retired_id, "")
        driver.purge(retired_id)
    target = root / ".purging" / ID / "_data" / "share"
    bind(precious, target)
    with pytest.raises(Conflict):
        driver.cleanup()
    assert is_safe(precious)
    assert os.listdir(root / ".purging") == [ID], "the other one is deleted all the same"
    unmount(target)
    driver.cleanup()
    assert is_safe(precious) and os.listdir(root / ".purging") == []


def test_a_volume_directory_that_is_a_link_is_no_volume(driver: LocalVolumes, root: Path, precious: Path) -> None:
    (precious / "_data").mkdir()
    (root / "link").symlink_to(precious)
    assert driver.list_volumes() == []
    with pytest.raises(Conflict, match="is not a directory"):
        driver.retire("link", ID, "")
    with pytest.raises(Conflict):
        driver.create("link", {}, "")
    assert is_safe(precious)


def test_data_that_is_a_link_to_another_volume_breaks_the_volume_and_harms_nobody(
    driver: LocalVolumes, root: Path
) -> None:
    driver.create("victim", {}, "")
    (root / "victim" / "_data" / "note").write_text("kept")
    driver.create("data", {}, "")
    (root / "data" / "_data").rmdir()
    (root / "data" / "_data").symlink_to(root / "victim" / "_data")
    assert "is not a directory" in driver.get("data").problem
    with pytest.raises(HostFailure, match="is not a directory"):
        driver.attach("data", ID)
    assert driver.usage_bytes("data") == -1
    driver.retire("data", ID, "")
    driver.purge(ID)
    driver.cleanup()
    assert (root / "victim" / "_data" / "note").read_text() == "kept"


def test_deleting_never_follows_a_directory_that_is_swapped_for_a_link(tmp_path: Path, precious: Path) -> None:
    """A process that still has the tree open puts links where directories were, as fast as it can."""
    for round_number in range(6):
        tree = tmp_path / f"tree{round_number}"
        for number in range(40):
            (tree / f"d{number}" / "sub").mkdir(parents=True)
            (tree / f"d{number}" / "sub" / "note").write_text("theirs")
        stop = threading.Event()

        def swap(tree: Path = tree, stop: threading.Event = stop) -> None:
            number = 0
            while not stop.is_set():
                number = (number + 1) % 40
                place = tree / f"d{number}"
                try:
                    place.rename(tree / "aside")
                    place.symlink_to(precious)
                except OSError:
                    continue

        attacker = threading.Thread(target=swap)
        attacker.start()
        try:
            for _ in range(50):
                try:
                    remove_tree(tree)
                    break
                except (Conflict, OSError):
                    continue
        finally:
            stop.set()
            attacker.join()
        assert is_safe(precious)
        remove_tree(tree)


def test_a_tmpfs_volume_lives_as_long_as_somebody_uses_it(driver: LocalVolumes, root: Path) -> None:
    driver.create("ram", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0700,noexec"}, "")
    data = root / "ram" / "_data"
    assert not is_mount_point(data)
    driver.attach("ram", "1" * 64)
    driver.attach("ram", "2" * 64)
    (data / "note").write_text("in memory")
    (entry,) = mounts_at_or_below(data)
    assert entry.fs_type == "tmpfs" and "noexec" in entry.options and "size=1024k" in entry.super_options
    with pytest.raises(Conflict, match="volume has active mounts"):
        driver.retire("ram", ID, "")
    driver.detach("ram", "1" * 64)
    driver.detach("ram", "1" * 64)
    assert (data / "note").read_text() == "in memory"
    LocalVolumes(root).detach("ram", "2" * 64)
    assert not is_mount_point(data)
    driver.retire("ram", ID, "")


def test_marks_from_before_a_reboot_mean_nothing(driver: LocalVolumes, root: Path) -> None:
    driver.create("ram", {"type": "tmpfs", "device": "tmpfs"}, "")
    driver.attach("ram", "1" * 64)
    unmount(root / "ram" / "_data")  # as a reboot does
    driver.attach("ram", "2" * 64)
    driver.detach("ram", "2" * 64)
    assert not is_mount_point(root / "ram" / "_data")


def test_a_mount_left_by_a_cut_off_detach_goes_with_the_removal(driver: LocalVolumes, root: Path) -> None:
    driver.create("ram", {"type": "tmpfs", "device": "tmpfs"}, "")
    driver.attach("ram", "1" * 64)
    (root / "ram" / "uses" / ("1" * 64)).unlink()
    driver.retire("ram", ID, "")
    assert not is_mount_point(root / ".retired" / ID / "_data")


@pytest.mark.parametrize("words", ["bind", "bind,ro", "rbind,ro,nosuid"])
def test_a_bind_volume_shows_the_host_directory(driver: LocalVolumes, root: Path, precious: Path, words: str) -> None:
    driver.create("host", {"type": "none", "device": str(precious), "o": words}, "")
    path = driver.attach("host", ID)
    assert (path / "sub" / "note").read_text() == "kept"
    if "ro" in words.split(","):
        with pytest.raises(OSError, match="Read-only"):
            (path / "new").write_text("x")
    driver.detach("host", ID)
    driver.retire("host", ID, "")
    driver.purge(ID)
    driver.cleanup()
    assert is_safe(precious)


def test_a_block_device_is_mounted_and_its_bytes_are_on_it_after_the_detach(
    driver: LocalVolumes, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    loop = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        driver.create("disk", {"type": "ext4", "device": loop}, "")
        (driver.attach("disk", ID) / "note").write_text("on the disk")
        elsewhere = os.open(tmp_path / "volumes" / "disk" / "_data", os.O_RDONLY)  # as a copied mount namespace would
        driver.detach("disk", ID)
        assert b"on the disk" in image.read_bytes()
        os.close(elsewhere)
        assert (driver.attach("disk", ID) / "note").read_text() == "on the disk"
        driver.detach("disk", ID)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


@pytest.mark.parametrize("words", ["loop", "loop,ro"])
def test_a_file_is_mounted_as_a_disk_and_its_device_goes_with_the_last_user(
    driver: LocalVolumes, tmp_path: Path, words: str
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", root_with_note(tmp_path), image], check=True)
    driver.create("disk", {"type": "ext4", "device": str(image), "o": words}, "")
    assert (driver.attach("disk", ID) / "note").read_text() == "on the disk"
    driver.attach("disk", "b" * 64)
    for use in (ID, "b" * 64):
        driver.detach("disk", use)
    devices = subprocess.run(["losetup", "-j", image], check=True, capture_output=True, text=True).stdout
    assert devices == ""
    driver.create("bare", {"type": "ext4", "device": str(image)}, "")
    with pytest.raises(HostFailure, match="block device required") as refused:
        driver.attach("bare", ID)
    assert "put the word loop into o" in refused.value.hint


def root_with_note(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "note").write_text("on the disk")
    return tmp_path / "top"


def test_a_mount_that_fails_says_what_was_tried_and_hides_the_password(driver: LocalVolumes, root: Path) -> None:
    driver.create("nas", {"type": "cifs", "device": "//127.0.0.1/x", "o": "username=u,password=hush"}, "")
    with pytest.raises(HostFailure) as refused:
        driver.attach("nas", ID)
    assert "failed to mount local volume: mount //127.0.0.1/x:" in refused.value.message
    assert "hush" not in refused.value.message and "addr=127.0.0.1" in refused.value.message
    assert not (root / "nas" / "uses" / ID).exists()
    driver.retire("nas", ID, "")


def test_a_read_only_disk_is_named_and_nothing_changes(tmp_path: Path) -> None:
    with mounted_disk(tmp_path, 8 << 20) as disk:
        driver = LocalVolumes(disk / "volumes")
        driver.create("data", {}, "")
        mount("none", disk, "", MS_REMOUNT | MS_RDONLY)
        with pytest.raises(OSError, match="Read-only file system"):
            driver.create("more", {}, "")
        with pytest.raises(OSError, match="Read-only file system"):
            driver.retire("data", ID, "")
        assert [stored.name for stored in driver.list_volumes()] == ["data"]
        assert driver.attach("data", ID) == disk / "volumes" / "data" / "_data"
        driver.close()


def test_a_volume_can_be_removed_and_restored_when_the_disk_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mounted_disk(tmp_path, 8 << 20) as disk:
        driver = LocalVolumes(disk / "volumes")
        driver.create("data", {}, "{}")
        fill(disk / "volumes" / "data" / "_data" / "note")
        size = driver.usage_bytes("data")
        driver.retire("data", ID, "{}" * 5000)
        driver.restore(ID, "data", "{}" * 5000)
        assert "no room for the record" in caplog.text
        assert driver.usage_bytes("data") == size
        driver.retire("data", ID, "{}" * 5000)
        driver.purge(ID)
        driver.cleanup()
        driver.create("data", {}, "{}")
        driver.close()


def fill(path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                full = error
        raise full


def test_a_volume_that_the_disk_fails_to_show_hides_no_other(
    driver: LocalVolumes, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "sick", "two"):
        driver.create(name, {}, "")
    genuine, sick = os.scandir, (root / "sick").stat().st_ino

    def failing(place: int) -> Iterator[os.DirEntry[str]]:
        if os.stat(place).st_ino == sick:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return genuine(place)

    monkeypatch.setattr(os, "scandir", failing)
    problems = {stored.name: stored.problem for stored in driver.list_volumes()}
    assert problems["one"] == problems["two"] == ""
    assert problems["sick"] == f"{root / 'sick'} cannot be looked at: Input/output error"


def test_options_that_anybody_may_read_are_root_s_alone_from_the_next_start_on(
    driver: LocalVolumes, root: Path
) -> None:
    (root / "byhand" / "_data").mkdir(parents=True)
    (root / "byhand" / "opts.json").write_text(
        '{"MountType": "cifs", "MountDevice": "//h/s", "MountOpts": "password=x"}'
    )
    (root / "byhand" / "opts.json").chmod(0o644)
    assert [stored.name for stored in driver.list_volumes()] == ["byhand"]
    assert (root / "byhand" / "opts.json").stat().st_mode & 0o777 == 0o600
