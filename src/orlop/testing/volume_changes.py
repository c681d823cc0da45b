"""The contract suites of volume drivers that can rename a volume, give it other options, or remember its uses."""

import os

import pytest

from orlop.drivers.volumes.abilities import Changing, LastingUses, Renaming, Retirement, SelfDescribing
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import Conflict, Malformed, NotFound
from orlop.testing.volume_fixtures import RECORD, VolumeFixtures, names, new_id


class RenamingContract(VolumeFixtures):
    def renaming(self, driver: VolumeDriver) -> Renaming:
        assert isinstance(driver, Renaming)
        return driver

    def test_a_renamed_volume_keeps_its_bytes_and_has_the_new_record(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        stored = self.renaming(driver).rename("data", "other", '{"id": "2"}')
        assert stored.name == "other" and not stored.problem
        assert driver.get("other") == stored
        again = self.reopened(driver)
        assert names(again) == ["other"]
        assert self.read(again, "other") == self.lasting("kept")
        if isinstance(again, SelfDescribing):
            assert again.metadata("other") == '{"id": "2"}'

    def test_who_has_it_attached_keeps_it_under_the_new_name(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use, other_use = new_id(), new_id()
        path = driver.attach("data", use)
        (path / "note").write_text("kept")
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.renaming(driver).rename("data", "other", RECORD)
            assert "note" in os.listdir(fd)
        finally:
            os.close(fd)
        assert (driver.attach("other", other_use) / "note").read_text() == "kept"
        driver.detach("other", use)
        assert (driver.attach("other", other_use) / "note").read_text() == "kept", "still attached by the second"
        driver.detach("other", other_use)
        if isinstance(driver, Retirement):
            driver.retire("other", new_id(), RECORD)

    def test_renaming_twice_is_success_and_the_old_name_is_free(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver, text="old")
        for _ in range(2):
            self.renaming(driver).rename("data", "other", '{"id": "2"}')
        assert names(driver) == ["other"]
        driver.create("data", self.options_of("other"), RECORD)
        assert names(driver) == ["data", "other"]

    def test_renaming_never_replaces_a_volume(self, driver: VolumeDriver) -> None:
        self.made(driver, "one")
        self.written(driver, "one", text="one")
        self.made(driver, "two")
        self.written(driver, "two", text="two")
        with pytest.raises(Conflict):
            self.renaming(driver).rename("one", "two", '{"id": "2"}')
        assert names(driver) == ["one", "two"]
        assert self.read(driver, "one") == self.lasting("one")
        assert self.read(driver, "two") == self.lasting("two")
        if isinstance(driver, SelfDescribing):
            assert driver.metadata("one") == RECORD

    def test_what_is_not_there_cannot_be_renamed(self, driver: VolumeDriver) -> None:
        with pytest.raises(NotFound):
            self.renaming(driver).rename("unknown", "other", RECORD)

    @pytest.mark.parametrize("name", ["", "..", "../escape", "/etc", "with\x00nul"])
    def test_a_new_name_cannot_lead_out_of_the_root(self, driver: VolumeDriver, name: str) -> None:
        self.made(driver)
        with pytest.raises(Malformed):
            self.renaming(driver).rename("data", name, RECORD)
        assert names(driver) == ["data"]


class ChangingContract(VolumeFixtures):
    def changing(self, driver: VolumeDriver) -> Changing:
        assert isinstance(driver, Changing)
        return driver

    def changed(self, driver: VolumeDriver, record: str = '{"id": "2"}') -> None:
        options = self.options_of("data") if self.other_options is None else self.other_options
        self.changing(driver).change("data", options, record)

    def test_a_changed_volume_keeps_its_bytes_and_has_the_new_record(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        for _ in range(2):
            self.changed(driver)
        again = self.reopened(driver)
        assert not again.get("data").problem
        assert self.read(again) == self.lasting("kept")
        if isinstance(again, SelfDescribing):
            assert again.metadata("data") == '{"id": "2"}'

    def test_who_has_it_attached_notices_nothing(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use, other_use = new_id(), new_id()
        path = driver.attach("data", use)
        (path / "note").write_text("kept")
        self.changed(driver)
        assert (path / "note").read_text() == "kept"
        assert (driver.attach("data", other_use) / "note").read_text() == "kept", "the same as the one before it"
        driver.detach("data", use)
        assert (path / "note").read_text() == "kept"
        driver.detach("data", other_use)
        assert self.read(driver) == self.lasting("kept")

    def test_options_that_make_no_sense_change_nothing(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        with pytest.raises(Malformed):
            self.changing(driver).change("data", {"no-such-option": "x"}, '{"id": "2"}')
        assert self.read(driver) == self.lasting("kept")
        if isinstance(driver, SelfDescribing):
            assert driver.metadata("data") == RECORD

    def test_what_is_not_there_cannot_be_changed(self, driver: VolumeDriver) -> None:
        with pytest.raises(NotFound):
            self.changed(driver)
        assert names(driver) == []


class LastingUsesContract(VolumeFixtures):
    def test_uses_that_a_crash_cut_off_end_and_the_others_go_on(self, driver: VolumeDriver) -> None:
        self.made(driver)
        running, cut_off = new_id(), new_id()
        path = driver.attach("data", running)
        driver.attach("data", cut_off)
        (path / "note").write_text("kept")
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        for _ in range(2):
            again.detach_others([running, new_id()])
        assert (path / "note").read_text() == "kept"
        again.detach("data", running)
        if isinstance(again, Retirement):
            again.retire("data", new_id(), RECORD)

    def test_a_volume_that_nobody_uses_any_more_can_be_removed(self, driver: VolumeDriver) -> None:
        self.made(driver)
        driver.attach("data", new_id())
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        again.detach_others([])
        if isinstance(again, Retirement):
            again.retire("data", new_id(), RECORD)
            assert names(again) == []
