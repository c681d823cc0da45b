"""The contract suite of volume drivers that can make a volume together with its data (`Filling`)."""

import pytest

from orlop.drivers.volumes.abilities import Filling, SelfDescribing
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import Conflict, NotFound
from orlop.testing.volume_fixtures import RECORD, VolumeFixtures, names, new_id


class FillingContract(VolumeFixtures):
    def filled(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Filling)
        top = driver.prepare("fill-1", self.options, RECORD)
        assert list(top.iterdir()) == []
        (top / "note").write_text("whole")
        top.chmod(0o750)

    def test_a_volume_is_seen_only_when_it_is_revealed(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Filling)
        self.filled(driver)
        assert names(driver) == [] and list(driver.list_staged()) == ["fill-1"]
        stored = driver.reveal("fill-1", "data")
        assert stored == driver.get("data") and not stored.problem
        assert list(driver.list_staged()) == []
        assert self.read(driver) == "whole"
        use = new_id()
        assert driver.attach("data", use).stat().st_mode & 0o7777 == 0o750
        driver.detach("data", use)
        assert driver.reveal("fill-1", "data").name == "data"

    def test_what_was_filled_survives_a_restart(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Filling)
        self.filled(driver)
        driver.reveal("fill-1", "data")
        again = self.reopened(driver)
        assert self.read(again) == "whole"
        if isinstance(again, SelfDescribing):
            assert again.metadata("data") == RECORD

    def test_a_name_that_is_taken_is_not_revealed_over(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Filling)
        self.made(driver)
        self.written(driver)
        self.filled(driver)
        with pytest.raises(Conflict):
            driver.reveal("fill-1", "data")
        assert self.read(driver) == "kept"
        driver.unstage("fill-1")
        assert list(driver.list_staged()) == []

    def test_what_was_thrown_away_cannot_be_revealed(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Filling)
        self.filled(driver)
        driver.unstage("fill-1")
        driver.unstage("fill-1")
        with pytest.raises(NotFound):
            driver.reveal("fill-1", "data")
        assert names(driver) == []

    def test_what_a_crash_left_is_thrown_away_after_a_restart(self, driver: VolumeDriver) -> None:
        self.filled(driver)
        again = self.reopened(driver)
        assert isinstance(again, Filling)
        for token in again.list_staged():
            again.unstage(token)
        assert list(again.list_staged()) == [] and names(again) == []
