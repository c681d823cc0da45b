"""uid=, gid= and mode= of local volumes: the top directory has them, whatever else happens."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Malformed
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, mounts")

ID = "a" * 64
OWNED = {"uid": "1000", "gid": "2000", "mode": "2770"}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(tmp_path / "volumes")
    yield driver
    driver.close()
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def owner(path: Path) -> tuple[int, int, int]:
    details = path.stat()
    return details.st_uid, details.st_gid, stat.S_IMODE(details.st_mode)


@pytest.mark.parametrize("options", [OWNED, {"o": "uid=1000,gid=2000,mode=2770"}, {**OWNED, "o": "mode=2770"}])
def test_a_plain_volume_has_its_owner_from_the_start(driver: LocalVolumes, options: dict[str, str]) -> None:
    driver.create("data", options, "")
    assert owner(driver.attach("data", ID)) == (1000, 2000, 0o2770)


def test_what_is_left_open_is_as_ever(driver: LocalVolumes) -> None:
    driver.create("data", {"gid": "5"}, "")
    assert owner(driver.attach("data", ID)) == (0, 5, 0o755)


@pytest.mark.parametrize("in_use", [False, True])
def test_it_beats_what_the_image_has(driver: LocalVolumes, in_use: bool) -> None:
    driver.create("data", {"uid": "1000", "mode": "0700"}, "")
    staged = driver.stage("data", "one")
    (staged / "note").write_text("from the image")
    os.chown(staged, 70, 71)
    staged.chmod(0o777)
    driver.publish("data", "one", in_use)
    top = driver.attach("data", ID)
    assert owner(top) == (1000, 71, 0o700)
    assert (top / "note").stat().st_uid == 0, "never what is below the top"


def test_it_stays_what_its_users_made_of_it(driver: LocalVolumes) -> None:
    """Attaching, retiring, restoring and a restart change nothing."""
    driver.create("data", OWNED, "")
    os.chown(driver.attach("data", ID), 70, 70)
    driver.retire("data", ID, "")
    again = LocalVolumes(driver.root)
    again.restore(ID, "back", "")
    assert owner(again.attach("back", ID)) == (70, 70, 0o2770)
    again.close()


def test_memory_has_it_each_time(driver: LocalVolumes) -> None:
    driver.create("ram", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m", **OWNED}, "")
    for _ in range(2):
        path = driver.attach("ram", ID)
        assert owner(path) == (1000, 2000, 0o2770)
        os.chown(path, 70, 70)
        driver.detach("ram", ID)


def test_a_disk_has_it_from_its_first_mount_on(driver: LocalVolumes, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    loop = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        driver.create("disk", {"type": "ext4", "device": loop, **OWNED}, "")
        path = driver.attach("disk", ID)
        assert owner(path) == (1000, 2000, 0o2770)
        os.chown(path, 70, 70)
        driver.detach("disk", ID)
        assert owner(driver.attach("disk", ID)) == (70, 70, 0o2770)
        driver.detach("disk", ID)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


@pytest.mark.parametrize(
    "options",
    [
        {"type": "none", "device": "/srv", "o": "bind", "uid": "5"},
        {"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1", "mode": "0700"},
        {"type": "cifs", "device": "//127.0.0.1/x", "gid": "5"},
    ],
)
def test_what_belongs_to_somebody_else_keeps_its_owner(driver: LocalVolumes, options: dict[str, str]) -> None:
    with pytest.raises(Malformed, match="uid, gid and mode are not for"):
        driver.create("data", options, "")


def test_words_beside_a_type_are_the_file_system_s_own(driver: LocalVolumes) -> None:
    driver.create("ram", {"type": "tmpfs", "device": "tmpfs", "o": "uid=7,gid=8,mode=700"}, "")
    assert owner(driver.attach("ram", ID)) == (7, 8, 0o700)
    driver.detach("ram", ID)
