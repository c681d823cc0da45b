"""Every volume driver keeps the contract; the local one in each of its forms."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_image_format
from orlop.drivers.volumes.abilities import Limited
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.local import LocalVolumes
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.kernel.process import CAP_SYS_RESOURCE, has_capability
from orlop.testing.volume_adoption import AdoptingContract
from orlop.testing.volume_changes import ChangingContract, LastingUsesContract, RenamingContract
from orlop.testing.volume_filling import FillingContract
from orlop.testing.volume_limits import InodeLimitContract, LimitContract
from orlop.testing.volumes import (
    RECORD,
    RetirementContract,
    SelfDescribingContract,
    StagingContract,
    UsageContract,
    VolumeDriverContract,
)
from support.disks import mounted_disk

MAY_GROW_EXT4 = has_capability(CAP_SYS_RESOURCE)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


class LocalContract(
    VolumeDriverContract,
    RetirementContract,
    SelfDescribingContract,
    RenamingContract,
    ChangingContract,
    LastingUsesContract,
):
    """What every form of a local volume has."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        yield from self.drivers(tmp_path / "volumes")

    def drivers(self, root: Path) -> Iterator[VolumeDriver]:
        self.opened = [LocalVolumes(root)]
        yield self.opened[0]
        for entry in mounts_at_or_below(root):
            unmount(entry.mount_point, MNT_DETACH)
        for driver in self.opened:
            driver.close()

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        assert isinstance(driver, LocalVolumes)
        self.opened.append(LocalVolumes(driver.root))
        return self.opened[-1]


class TestLocal(LocalContract, UsageContract, StagingContract, FillingContract, AdoptingContract):
    pass


@needs_root
class TestLocalWithOwner(LocalContract, UsageContract, StagingContract, FillingContract):
    options = {"uid": "1000", "o": "gid=1001,mode=0770"}
    other_options = {"uid": "1001"}
    top_mode = 0o770


@needs_root
class TestLocalInMemory(LocalContract, StagingContract):
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    other_options = {"type": "tmpfs", "device": "tmpfs", "o": "size=2m"}
    outlives_its_uses = False
    holds_its_bytes = False


@needs_root
class TestLocalOnADirectory(LocalContract, StagingContract):
    holds_its_bytes = False

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.top = tmp_path / "host"

    def options_of(self, name: str) -> dict[str, str]:
        (self.top / name).mkdir(parents=True, exist_ok=True)
        return {"type": "none", "device": str(self.top / name), "o": "bind"}


@needs_root
class TestLocalOnADisk(LocalContract, StagingContract):
    holds_its_bytes = False
    own_entries = frozenset({"lost+found"})

    @pytest.fixture(autouse=True)
    def disks(self, tmp_path: Path) -> Iterator[None]:
        self.top, self.devices = tmp_path, dict[str, str]()
        yield
        for entry in mounts_at_or_below(tmp_path):
            unmount(entry.mount_point, MNT_DETACH)
        for device in self.devices.values():
            subprocess.run(["losetup", "-d", device], check=True)

    def options_of(self, name: str) -> dict[str, str]:
        return {"type": "ext4", "device": self.devices.get(name) or self.make_disk(name), "o": "noatime"}

    def make_disk(self, name: str) -> str:
        image = self.top / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(4 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        losetup = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
        self.devices[name] = losetup.stdout.strip()
        return self.devices[name]


class LimitedContract(
    LocalContract, UsageContract, StagingContract, FillingContract, LimitContract, InodeLimitContract
):
    options = {"size": "16m"}
    other_options = {"size": "16m", "uid": "1000"}


@needs_root
class TestLocalInAnExt4Image(LimitedContract):
    """As where this process may grow one; whether it does so in use is up to the kernel."""

    grows_online = MAY_GROW_EXT4

    @pytest.fixture(autouse=True)
    def _has_the_capability(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_image_format, "has_capability", lambda number: True)


@needs_root
class TestLocalInAnXfsImage(LimitedContract):
    """As where it may not."""

    @pytest.fixture(autouse=True)
    def _has_no_capability(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_image_format, "has_capability", lambda number: False)

    def test_it_is_one(self, driver: VolumeDriver) -> None:
        driver.create("data", self.options, RECORD)
        assert isinstance(driver, Limited) and driver.limits("data").mechanism == "image file (xfs)"


@needs_root
class TestLocalOnBtrfs(LimitedContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        with mounted_disk(tmp_path, 512 << 20, "btrfs") as disk:
            yield from self.drivers(disk / "volumes")
