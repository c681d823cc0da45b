"""The contract suite of volume drivers whose removals are final (`Removal`): they have no `Retirement`."""

from contextlib import suppress

import pytest

from orlop.drivers.volumes.abilities import Removal
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import NotFound, OrlopError
from orlop.testing.volume_fixtures import VolumeFixtures, names


class RemovalContract(VolumeFixtures):
    def removed(self, driver: VolumeDriver, name: str = "data") -> None:
        assert isinstance(driver, Removal)
        driver.remove(name)

    def test_a_removed_volume_is_gone_also_after_a_restart(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        self.removed(driver)
        assert names(driver) == [] and names(self.reopened(driver)) == []
        with pytest.raises(NotFound):
            driver.get("data")

    def test_what_is_gone_already_is_success_or_not_found(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.removed(driver)
        with suppress(NotFound):
            self.removed(driver)
        assert names(driver) == []

    def test_a_name_is_free_after_a_removal_and_its_volume_a_new_one(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver, text="old")
        self.removed(driver)
        self.made(driver)
        if self.holds_its_bytes:
            assert self.read(driver) == ""
        self.written(driver, text="new")
        assert self.read(driver) == self.lasting("new")

    def test_removing_one_leaves_the_others_alone(self, driver: VolumeDriver) -> None:
        for name in ("one", "two"):
            self.made(driver, name)
            self.written(driver, name, text=name)
        self.removed(driver, "one")
        assert names(driver) == ["two"] and self.read(driver, "two") == self.lasting("two")

    @pytest.mark.parametrize("name", ["", "..", "../escape", "/etc", "with\x00nul"])
    def test_a_removal_cannot_lead_out_of_the_root(self, driver: VolumeDriver, name: str) -> None:
        self.made(driver)
        self.written(driver)
        with suppress(OrlopError, OSError):
            self.removed(driver, name)
        assert names(driver) == ["data"] and self.read(driver) == self.lasting("kept")
