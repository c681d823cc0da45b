"""Limited volumes in trouble: disks without room, images that are gone, damaged, shared or covered."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.drivers.volumes import local_image, local_image_file
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.local_image_format import EXT4, XFS, ImageFormat
from orlop.errors import Conflict, HostFailure, Malformed, Unsupported
from orlop.kernel import loop
from orlop.kernel.loop import find_loop_device, is_in_use
from orlop.kernel.mounts import MNT_DETACH, bind, is_mount_point, mounts_at_or_below, unmount
from orlop.testing.volume_limits import MIB, fill
from support.daemon import wait_for
from support.disks import mounted_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

ID, USE, OTHER = "a" * 64, "1" * 64, "2" * 64


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(tmp_path / "volumes")
    yield driver
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)
    driver.close()


def made(driver: LocalVolumes, name: str = "data", size: str = "8m") -> Path:
    driver.create(name, {"size": size}, "")
    (driver.attach(name, USE) / "note").write_text("kept")
    driver.detach(name, USE)
    return driver.root / name / "disk.img"


def test_the_size_that_df_shows_is_the_limit_and_the_file_takes_what_is_stored(driver: LocalVolumes) -> None:
    for size in ("4m", "64m", "300m", "5g"):
        driver.create("data", {"size": size}, "")
        found = os.statvfs(driver.attach("data", USE))
        wanted = int(size[:-1]) << {"m": 20, "g": 30}[size[-1]]
        assert wanted <= found.f_blocks * found.f_frsize < wanted * 1.03 + MIB
        assert found.f_files > wanted // 20_000, "bytes run out before inodes do"
        assert os.listdir(driver.root / "data" / "_data") == [], "PostgreSQL wants it empty"
        driver.detach("data", USE)
        taken = (driver.root / "data" / "disk.img").stat().st_blocks * 512
        assert taken < (4 if wanted < 256 * MIB else 72) * MIB, "the log of an XFS is not sparse"
        driver.retire("data", os.urandom(32).hex(), "")


@pytest.mark.parametrize("form", [EXT4, XFS])
def test_one_file_system_is_made_for_nearly_every_size(
    driver: LocalVolumes, form: ImageFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first guess at what the file system itself takes is right, and hardly ever too much."""
    made_so_far: list[int] = []
    monkeypatch.setattr(local_image_file, "choose_format", lambda size, inodes: form)
    make = type(form).make
    monkeypatch.setattr(type(form), "make", lambda *arguments: (made_so_far.append(1), make(*arguments)))
    sizes = [size << 20 for size in (16, 50, 100, 256, 700, 1 << 10, 10 << 10, 100 << 10)]
    for number, size in enumerate(sizes):
        driver.create(f"data{number}", {"size": str(size)}, "")
        counted = driver.counted(f"data{number}")
        assert counted is not None and (counted.size_bytes < MIB, counted.entries) == (True, 0)
    assert len(made_so_far) <= len(sizes) + 1


def test_a_device_that_somebody_looks_at_while_a_file_system_is_made_again_does_no_harm(
    driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the device of the file before, and shows what was in that."""
    held: list[int] = []
    dress = local_image_file._dress

    def look(fd: int, *arguments: Any) -> int:
        if held:
            return dress(fd, *arguments)
        with loop.loop_device(fd) as (_, path):
            dress(fd, *arguments)
            held.append(os.open(path, os.O_RDONLY))
        return 3 * MIB

    monkeypatch.setattr(local_image_file, "_dress", look)
    try:
        driver.create("data", {"size": "16m"}, "")
        found = os.statvfs(driver.attach("data", USE))
        assert found.f_blocks * found.f_frsize > 16 * MIB
        driver.detach("data", USE)
    finally:
        os.close(held[0])


def test_what_was_deleted_goes_back_to_the_disk(driver: LocalVolumes) -> None:
    image = made(driver, size="32m")
    top = driver.attach("data", USE)
    (top / "much").write_bytes(os.urandom(16 * MIB))
    os.sync()
    full = image.stat().st_blocks * 512
    (top / "much").unlink()
    os.sync()
    driver.detach("data", USE)
    assert image.stat().st_blocks * 512 < full - 12 * MIB


@pytest.mark.parametrize("options", [{"size": "1m"}, {"size": "4194303"}])
def test_what_is_too_small_is_refused_with_the_least_there_can_be(
    driver: LocalVolumes, options: dict[str, str]
) -> None:
    with pytest.raises(Malformed, match="at least 4 MiB"):
        driver.create("data", options, "")
    assert driver.list_volumes() == [] and driver.list_staged() == []


def test_inodes_alone_and_too_few_of_them_are_refused_with_the_way_out(driver: LocalVolumes) -> None:
    with pytest.raises(Unsupported, match="Give it a size as well"):
        driver.create("data", {"inodes": "100"}, "")
    with pytest.raises(Unsupported, match="Ask for inodes="):
        driver.create("data", {"inodes": "100", "size": "4g"}, "")
    assert driver.list_volumes() == [] and driver.list_staged() == []


def test_without_mkfs_it_says_which_package_has_it(driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *arguments, **more: None)
    with pytest.raises(Unsupported, match="Install e2fsprogs"):
        driver.create("data", {"size": "8m"}, "")
    assert driver.list_volumes() == [] and driver.list_staged() == []


def test_without_loop_devices_it_says_what_is_missing(driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    made(driver)

    def refuse(*_: object) -> tuple[int, str]:
        raise FileNotFoundError(2, "No such file or directory", "/dev/loop-control")

    monkeypatch.setattr(loop, "_new", refuse)
    with pytest.raises(HostFailure, match="modprobe loop"):
        driver.attach("data", USE)
    with pytest.raises(HostFailure, match="modprobe loop"):
        driver.create("more", {"size": "8m"}, "")
    assert [stored.name for stored in driver.list_volumes()] == ["data"] and driver.list_staged() == []


def test_a_file_larger_than_the_disk_can_name_is_refused(driver: LocalVolumes) -> None:
    with pytest.raises(Unsupported, match="too large for this file system"):
        driver.create("data", {"size": "900t"}, "")
    assert driver.list_volumes() == [] and driver.list_staged() == []


def test_on_a_full_disk_nothing_is_half_made_and_what_is_there_can_be_removed(tmp_path: Path) -> None:
    with mounted_disk(tmp_path, 16 << 20) as disk:
        driver = LocalVolumes(disk / "volumes")
        made(driver, "data", "4m")
        for number, size in enumerate((65536, 4096, 4096)):
            with pytest.raises(OSError, match="No space"), (disk / f"filler{number}").open("wb", buffering=0) as file:
                while True:
                    os.fsync(file.fileno() if file.write(bytes(size)) else -1)
        for _ in range(2):
            with pytest.raises((HostFailure, OSError)) as refused:
                driver.create("more", {"size": "8m"}, "")
            assert "room" in str(refused.value).lower() or "space" in str(refused.value).lower()
        assert [stored.name for stored in driver.list_volumes()] == ["data"] and driver.list_staged() == []
        assert (driver.attach("data", USE) / "note").read_text() == "kept"
        driver.detach("data", USE)
        driver.retire("data", ID, "")
        driver.purge(ID)
        driver.cleanup()
        driver.close()


def test_a_disk_that_gets_full_below_an_image_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    """The file is sparse, so more can be promised than there is."""
    with mounted_disk(tmp_path, 32 << 20) as disk:
        driver = LocalVolumes(disk / "volumes")
        made(driver, "data", "64m")
        top = driver.attach("data", USE)
        try:
            assert 0 < fill(top / "much") < 32 * MIB
        except OSError as error:
            assert error.errno in (errno.EIO, errno.EROFS)  # what an older kernel makes of it
        driver.detach("data", USE)
        wait_for("the device to go", lambda: not loop_of(disk / "volumes" / "data" / "disk.img"))
        assert (driver.attach("data", USE) / "note").read_text() == "kept"
        driver.detach("data", USE)
        driver.retire("data", ID, "")
        driver.purge(ID)
        driver.cleanup()
        driver.close()


def loop_of(image: Path) -> str:
    fd = os.open(image, os.O_RDWR)
    try:
        return find_loop_device(fd)
    finally:
        os.close(fd)


def test_an_image_that_is_gone_is_no_empty_directory(driver: LocalVolumes) -> None:
    image = made(driver)
    image.rename(image.with_suffix(".aside"))
    assert "disk.img, which its data is in, is missing" in driver.get("data").problem
    with pytest.raises(HostFailure, match=r"disk\.img"):
        driver.attach("data", USE)
    image.with_suffix(".aside").rename(image)
    assert (driver.attach("data", USE) / "note").read_text() == "kept"
    driver.detach("data", USE)


@pytest.mark.parametrize("damage", ["zeros", "link", "fifo", "short"])
def test_an_image_that_is_damaged_says_so_and_the_others_work(driver: LocalVolumes, damage: str) -> None:
    image = made(driver)
    made(driver, "other")
    if damage == "zeros":
        with image.open("r+b") as file:
            file.write(bytes(8192))
    elif damage == "short":
        os.truncate(image, 4096)
    else:
        image.unlink()
        image.symlink_to(driver.root / "other" / "disk.img") if damage == "link" else os.mkfifo(image)
    for _ in range(2):
        with pytest.raises((HostFailure, OSError)):
            driver.attach("data", USE)
    assert not is_mount_point(driver.root / "data" / "_data")
    assert (driver.attach("other", USE) / "note").read_text() == "kept"
    driver.detach("other", USE)
    driver.retire("data", ID, "")
    driver.purge(ID)
    driver.cleanup()


def test_while_another_namespace_keeps_the_mount_the_same_device_serves_again(
    driver: LocalVolumes, tmp_path: Path
) -> None:
    """Two devices of one file would each keep a cache of it, and write over each other."""
    image = made(driver)
    top = driver.attach("data", USE)
    held = os.open(top, os.O_RDONLY | os.O_DIRECTORY)  # as a copied mount namespace would
    driver.detach("data", USE)
    assert not is_mount_point(top)
    device = loop_of(image)
    assert device
    fd = os.open("note", os.O_WRONLY | os.O_TRUNC, dir_fd=held)
    os.write(fd, b"new")
    os.close(fd)
    assert (driver.attach("data", USE) / "note").read_text() == "new"
    assert loop_of(image) == device
    with pytest.raises(Conflict, match="in use"):
        driver.change("data", {"size": "6m"}, "")
    driver.detach("data", USE)
    os.close(held)
    wait_for("the device to go", lambda: not loop_of(image))
    driver.change("data", {"size": "6m"}, "")
    assert (driver.attach("data", USE) / "note").read_text() == "new"
    driver.detach("data", USE)


def test_who_starts_a_container_meanwhile_and_has_a_copy_of_the_mount_is_waited_for(
    driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(driver)
    driver.attach("data", USE)
    looks: list[bool] = []

    def look(image_fd: int) -> bool:
        looks.append(is_in_use(image_fd))
        starting.stdin.close()  # type: ignore[union-attr] - it has begun
        return looks[-1]

    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read word"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starting:
        assert starting.stdout and starting.stdout.readline()
        driver.detach("data", USE)
        with monkeypatch.context() as patch, pytest.raises(Conflict, match="in use"):
            patch.setattr(local_image, "ELSEWHERE_SECONDS", 0.0)
            driver.change("data", {"size": "6m"}, "")
        monkeypatch.setattr(local_image, "is_in_use", look)
        monkeypatch.setattr(local_image, "_size_now", lambda volume, subject: local_image._size(volume))
        driver.change("data", {"size": "6m"}, "")
    assert looks[0] and not looks[-1]
    assert (driver.attach("data", USE) / "note").read_text() == "kept"
    driver.detach("data", USE)


def test_a_limit_below_what_another_namespace_still_writes_is_refused(driver: LocalVolumes) -> None:
    """What the file says of its size is older than what is in it as long as it is mounted anywhere."""
    made(driver, size="16m")
    top = driver.attach("data", USE)
    held = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    driver.detach("data", USE)
    fd = os.open("much", os.O_WRONLY | os.O_CREAT, dir_fd=held)
    os.write(fd, os.urandom(10 * MIB))
    os.fsync(fd)
    os.close(fd)
    with pytest.raises(Conflict, match="it holds 1"):
        driver.change("data", {"size": "8m"}, "")
    os.close(held)
    wait_for("the device to go", lambda: not loop_of(driver.root / "data" / "disk.img"))
    assert (driver.attach("data", USE) / "much").stat().st_size == 10 * MIB
    driver.detach("data", USE)


def test_what_somebody_mounted_in_its_place_is_not_given_to_a_container(driver: LocalVolumes, tmp_path: Path) -> None:
    made(driver)
    (tmp_path / "theirs").mkdir()
    bind(tmp_path / "theirs", driver.root / "data" / "_data")
    with pytest.raises(HostFailure, match="is mounted on"):
        driver.attach("data", USE)
    unmount(driver.root / "data" / "_data")
    assert (driver.attach("data", USE) / "note").read_text() == "kept"
    driver.detach("data", USE)


def test_a_limit_on_what_is_mounted_is_the_mounts_own(driver: LocalVolumes) -> None:
    memory = {"type": "tmpfs", "device": "tmpfs"}
    driver.create("ram", memory | {"size": "2m", "inodes": "50"}, "")
    found = os.statvfs(driver.attach("ram", USE))
    assert (found.f_blocks * found.f_frsize, found.f_files) == (2 * MIB, 51)
    (driver.root / "ram" / "_data" / "note").write_bytes(bytes(MIB))
    driver.change("ram", memory | {"size": "4m", "inodes": "50"}, "")
    assert os.statvfs(driver.root / "ram" / "_data").f_blocks * found.f_frsize == 4 * MIB
    with pytest.raises(Conflict):
        driver.change("ram", memory | {"size": "512k"}, "")
    driver.detach("ram", USE)
    driver.create("said", memory | {"size": "2m", "o": "size=3m"}, "")
    assert os.statvfs(driver.attach("said", USE)).f_blocks * found.f_frsize == 3 * MIB
    driver.detach("said", USE)
    for options in (
        {"type": "none", "device": "/srv", "o": "bind", "size": "1g"},
        {"type": "nfs", "device": ":/export", "o": "addr=127.0.0.1", "inodes": "10"},
        {"type": "ext4", "device": "/dev/sdz1", "size": "1g"},
    ):
        with pytest.raises(Malformed, match="no quota support for what is mounted"):
            driver.create("theirs", options, "")


def test_a_plain_volume_that_cannot_be_limited_names_the_command_that_can(driver: LocalVolumes) -> None:
    driver.create("data", {}, "old")
    with pytest.raises(Unsupported, match=r"orlop volume cp --opt size=8388608 data NEW"):
        driver.change("data", {"size": "8m"}, "new")
    assert driver.metadata("data") == "old" and driver.options("data") == {}


def test_an_image_cannot_lose_its_limit_nor_be_hidden_by_a_mount(driver: LocalVolumes) -> None:
    made(driver)
    with pytest.raises(Unsupported, match="orlop volume cp --opt-rm size data NEW"):
        driver.change("data", {}, "")
    with pytest.raises(Conflict):
        driver.change("data", {"type": "tmpfs", "device": "tmpfs"}, "")
    assert (driver.attach("data", USE) / "note").read_text() == "kept"
    driver.detach("data", USE)


def test_growing_asks_the_kernel_for_the_blocks_and_falls_back_only_when_it_may_not(
    driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made(driver)
    driver.attach("data", USE)
    asked: list[int] = []

    def refuse(fd: int, blocks: int) -> None:
        asked.append(blocks)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(local_image_file.ext4, "resize", refuse)
    with pytest.raises(OSError, match="Input/output"):
        driver.change("data", {"size": "16m"}, "")
    assert asked == [image.stat().st_size // 4096]
    assert driver.limits("data").size_bytes == 8 * MIB
    assert (driver.root / "data" / "_data" / "note").read_text() == "kept"
    driver.detach("data", USE)


def test_a_larger_image_is_not_begun_without_room_for_its_tables(tmp_path: Path) -> None:
    with mounted_disk(tmp_path, 24 << 20) as disk:
        driver = LocalVolumes(disk / "volumes")
        made(driver, "data", "8m")
        driver.attach("data", USE)
        fill(disk / "filler", 10 * MIB)
        with pytest.raises(HostFailure, match="the disk is full"):
            driver.change("data", {"size": "2g"}, "")
        assert (disk / "volumes" / "data" / "_data" / "note").read_text() == "kept"
        driver.detach("data", USE)
        driver.close()


def test_on_btrfs_the_subvolume_and_its_quota_group_go_with_the_volume(tmp_path: Path) -> None:
    with mounted_disk(tmp_path, 256 << 20, "btrfs") as disk:
        driver = LocalVolumes(disk / "volumes")
        for name in ("data", "other"):
            driver.create(name, {"size": "8m"}, "")
            assert fill(driver.attach(name, USE) / "much") <= 8 * MIB
            (disk / "volumes" / name / "_data" / "much").unlink()
        groups(disk)
        assert subvolumes(disk) == 2 and groups(disk) == 2
        assert driver.limits("data").mechanism == "btrfs qgroup"
        nested = disk / "volumes" / "data" / "_data" / "nested"
        subprocess.run(["btrfs", "-q", "subvolume", "create", nested], check=True)
        (nested / "file").write_text("x")
        driver.retire("data", ID, "")
        driver.purge(ID)
        driver.cleanup()
        driver.discard("empty")
        assert subvolumes(disk) == 1
        wait_for("the quota groups to go", lambda: groups(disk) in (1, 2))
        driver.close()


def test_on_btrfs_inodes_are_limited_in_an_image(tmp_path: Path) -> None:
    with mounted_disk(tmp_path, 256 << 20, "btrfs") as disk:
        driver = LocalVolumes(disk / "volumes")
        driver.create("data", {"size": "8m", "inodes": "100"}, "")
        assert driver.limits("data").mechanism == "image file (ext4)"
        assert fill(driver.attach("data", USE) / "much") <= 8 * MIB
        driver.detach("data", USE)
        driver.close()


def subvolumes(disk: Path) -> int:
    said = subprocess.run(["btrfs", "subvolume", "list", disk], check=True, capture_output=True, text=True).stdout
    return len(said.splitlines())


def groups(disk: Path) -> int:
    subprocess.run(["btrfs", "filesystem", "sync", disk], check=True, capture_output=True)
    said = subprocess.run(["btrfs", "qgroup", "show", disk], check=True, capture_output=True, text=True).stdout
    return sum(line.startswith("0/") and not line.startswith("0/5 ") for line in said.splitlines())


def test_a_device_that_somebody_looks_at_is_not_in_use(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(MIB)
    device = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    fd = os.open(image, os.O_RDWR)
    try:
        assert find_loop_device(fd) == device and not is_in_use(fd)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
        os.close(fd)


def test_a_limit_that_nobody_keeps_here_is_told_and_keeps_nobody_from_the_data(
    driver: LocalVolumes, caplog: pytest.LogCaptureFixture
) -> None:
    """A volume of another engine, or from a disk that was mounted with quota."""
    (driver.root / "data" / "_data").mkdir(parents=True)
    (driver.root / "data" / "_data" / "note").write_text("kept")
    (driver.root / "data" / "opts.json").write_text('{"Quota": {"Size": 8388608}}')
    assert (driver.attach("data", USE) / "note").read_text() == "kept"
    assert "is not kept below its limit" in caplog.text
    assert driver.limits("data").size_bytes == 0 and driver.options("data") == {"size": "8388608"}
    driver.detach("data", USE)


def test_a_crash_of_the_machine_leaves_marks_that_mean_nothing(driver: LocalVolumes) -> None:
    made(driver)
    top = driver.attach("data", USE)
    unmount(top)  # as a reboot does
    again = LocalVolumes(driver.root)
    again.detach_others(set())
    assert (again.attach("data", OTHER) / "note").read_text() == "kept"
    again.detach("data", OTHER)
    assert not is_mount_point(top)
    again.retire("data", ID, "")
    again.close()


def test_renamed_in_use_it_keeps_its_image_and_grows_under_the_new_name(driver: LocalVolumes) -> None:
    made(driver, size="16m")
    driver.attach("data", USE)
    driver.rename("data", "other", "")
    (driver.root / "other" / "_data" / "more").write_text("written under the new name")
    driver.change("other", {"size": "20m"}, "")
    driver.attach("other", OTHER)
    driver.detach("other", USE)
    assert (driver.root / "other" / "_data" / "note").read_text() == "kept"
    driver.detach("other", OTHER)
    assert mounts_at_or_below(driver.root) == []
    assert sorted(os.listdir(driver.attach("other", USE))) == ["more", "note"]
    driver.detach("other", USE)
