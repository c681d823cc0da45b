"""Every volume driver keeps the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.local import LocalVolumes
from orlop.testing.volume_filling import FillingContract
from orlop.testing.volumes import (
    RetirementContract,
    SelfDescribingContract,
    StagingContract,
    UsageContract,
    VolumeDriverContract,
)


class TestLocal(
    VolumeDriverContract,
    RetirementContract,
    SelfDescribingContract,
    UsageContract,
    StagingContract,
    FillingContract,
):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        driver = LocalVolumes(tmp_path / "volumes")
        yield driver
        driver.close()

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        assert isinstance(driver, LocalVolumes)
        return LocalVolumes(driver.root)
