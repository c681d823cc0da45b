"""Limits that take what this machine's kernel lacks or forbids: test_elsewhere.py has another one run these.

Project quota of ext4 and XFS; and growing an ext4 while it is mounted, which takes CAP_SYS_RESOURCE. A process that has
this capability is above ext4's quota, so those tests are run without it, as containers are.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Conflict
from orlop.kernel.project_quota import KernelProjectQuota
from orlop.testing.volume_fixtures import VolumeFixtures
from orlop.testing.volume_limits import MIB, InodeLimitContract, LimitContract, fill
from orlop.testing.volumes import StagingContract
from support.daemon import wait_for
from support.disks import mounted_disk

USE = "a" * 64


class Driven(VolumeFixtures):
    def drivers(self, root: Path) -> Iterator[VolumeDriver]:
        self.opened = [LocalVolumes(root)]
        yield self.opened[0]
        for driver in self.opened:
            driver.close()

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        assert isinstance(driver, LocalVolumes)
        self.opened.append(LocalVolumes(driver.root))
        return self.opened[-1]


class ByProject(Driven, InodeLimitContract):
    def projects(self, driver: VolumeDriver, *names: str) -> list[int]:
        assert isinstance(driver, LocalVolumes)
        found = []
        for name in names:
            fd = os.open(driver.root / name / "_data", os.O_RDONLY)
            found.append(KernelProjectQuota().project(fd))
            os.close(fd)
        return found

    def test_projects_are_never_shared_and_are_free_after_the_purge(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, LocalVolumes)
        driver.create("one", {"size": "8m"}, "")
        driver.create("two", {"size": "8m"}, "")
        old, other = self.projects(driver, "one", "two")
        driver.retire("one", USE, "")
        driver.create("one", {"size": "8m"}, "")
        (new,) = self.projects(driver, "one")
        assert len({old, other, new, 0}) == 4
        driver.purge(USE)
        driver.cleanup()
        fd = os.open(driver.root, os.O_RDONLY)
        # XFS lets go of a deleted file's last inode a moment later.
        wait_for("its number to be free", lambda: not KernelProjectQuota().usage(fd, old).used_inodes)
        assert KernelProjectQuota().usage(fd, old).limit_bytes == 0
        os.close(fd)

    def test_a_plain_volume_that_is_in_use_gets_a_limit_over_all_that_it_holds(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, LocalVolumes)
        driver.create("data", {}, "")
        top = driver.attach("data", USE)
        (top / "deep" / "er").mkdir(parents=True)
        (top / "deep" / "er" / "file").write_bytes(os.urandom(4 * MIB))
        (top / "link").symlink_to("/etc/passwd")
        os.mkfifo(top / "fifo")
        os.sync()
        driver.change("data", {"size": "16m"}, "")
        assert 11 * MIB <= fill(top / "deep" / "much") <= 12 * MIB
        counted = driver.counted("data")
        assert counted is not None and counted.disk_bytes <= 16 * MIB
        with pytest.raises(Conflict):
            driver.change("data", {"size": "8m"}, "")
        driver.change("data", {}, "")
        assert fill(top / "more", 20 * MIB) == -1
        driver.detach("data", USE)

    def test_df_shows_the_limit(self, driver: VolumeDriver) -> None:
        driver.create("data", {"size": "16m", "inodes": "1000"}, "")
        found = os.statvfs(driver.attach("data", USE))
        assert (found.f_blocks * found.f_frsize, found.f_files) == (16 * MIB, 1001)

    def test_content_that_came_without_its_project_is_limited_again(self, driver: VolumeDriver) -> None:
        """As a backup that was put back."""
        assert isinstance(driver, LocalVolumes)
        driver.create("data", {"size": "16m"}, "")
        data = driver.root / "data" / "_data"
        data.rmdir()
        data.mkdir()
        (data / "file").write_bytes(os.urandom(4 * MIB))
        assert 11 * MIB <= fill(driver.attach("data", USE) / "much") <= 12 * MIB

    def test_inodes_are_limited_without_a_size(self, driver: VolumeDriver) -> None:
        driver.create("data", {"inodes": "10"}, "")
        top = driver.attach("data", USE)
        for number in range(10):
            (top / str(number)).touch()
        with pytest.raises(OSError, match=r"quota|space"):
            (top / "more").touch()


class TestExt4WithQuota(ByProject, LimitContract, StagingContract):
    options = {"size": "16m"}

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        features = ("-O", "quota,project", "-E", "quotatype=prjquota")
        with mounted_disk(tmp_path, 128 << 20, "ext4", features, "loop,prjquota") as disk:
            yield from self.drivers(disk / "volumes")


class TestXfsWithQuota(ByProject):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        with mounted_disk(tmp_path, 320 << 20, "xfs", words="loop,prjquota") as disk:
            yield from self.drivers(disk / "volumes")


class TestImage(Driven, LimitContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        yield from self.drivers(tmp_path / "volumes")
