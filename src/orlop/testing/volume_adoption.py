"""The suite of the ability to take over directories of other engines. Mixed into a driver's test class, which says
where such a directory may lie (`place`, on storage that can be moved from)."""

import os
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Adopting
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import Conflict, NotFound, OrlopError
from orlop.testing.volume_fixtures import RECORD, VolumeFixtures, names, new_id


class AdoptingContract(VolumeFixtures):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the other engine keeps its volumes."""
        return tmp_path / "theirs"

    def theirs(self, place: Path, name: str = "data") -> Path:
        """A volume of the other engine's, with data."""
        source = place / name
        (source / "_data").mkdir(parents=True)
        (source / "_data/note").write_text("kept")
        return source

    def test_a_directory_becomes_a_volume_with_its_bytes_where_they_are(
        self, driver: VolumeDriver, place: Path
    ) -> None:
        assert isinstance(driver, Adopting)
        source = self.theirs(place)
        inode = (source / "_data/note").stat().st_ino
        assert driver.why_not_adoptable(source) == ""
        stored = driver.adopt(source, "mine", {}, RECORD)
        assert (stored.name, stored.problem) == ("mine", "") and names(driver) == ["mine"]
        assert not source.exists()
        use = new_id()
        note = driver.attach("mine", use) / "note"
        assert note.read_text() == "kept" and note.stat().st_ino == inode
        driver.detach("mine", use)

    def test_adopting_twice_is_success_and_so_is_giving_back_twice(self, driver: VolumeDriver, place: Path) -> None:
        assert isinstance(driver, Adopting)
        source = self.theirs(place)
        for _ in range(2):
            driver.adopt(source, "data", {}, RECORD)
        for _ in range(2):
            driver.give_back("data", source)
        assert (source / "_data/note").read_text() == "kept" and names(driver) == []
        driver.adopt(source, "data", {}, RECORD)
        assert names(self.reopened(driver)) == ["data"]

    def test_a_name_that_is_taken_keeps_both(self, driver: VolumeDriver, place: Path) -> None:
        assert isinstance(driver, Adopting)
        source = self.theirs(place)
        self.made(driver)
        self.written(driver, text="mine")
        with pytest.raises(Conflict):
            driver.adopt(source, "data", {}, '{"id": "other"}')
        assert (source / "_data/note").read_text() == "kept"
        assert self.read(driver) == self.lasting("mine")

    def test_what_is_no_volume_stays_where_it_is(self, driver: VolumeDriver, place: Path) -> None:
        assert isinstance(driver, Adopting)
        outside = place.with_name("outside")
        outside.mkdir()
        link, through, empty = place / "link", self.theirs(place, "through"), place / "empty"
        link.symlink_to(outside)
        (through / "_data").rename(through / "elsewhere")
        (through / "_data").symlink_to(outside)
        empty.mkdir()
        for source in (link, through, empty, place / "absent"):
            with pytest.raises((OrlopError, OSError)):
                driver.adopt(source, "data", {}, RECORD)
        with pytest.raises(NotFound):
            driver.adopt(place / "absent", "data", {}, RECORD)
        assert names(driver) == [] and os.listdir(outside) == [] and link.is_symlink()

    def test_nothing_comes_along_that_the_driver_would_take_for_its_own(
        self, driver: VolumeDriver, place: Path
    ) -> None:
        """A user's Podman keeps volumes where that user can put anything: a disk image, marks, a record."""
        assert isinstance(driver, Adopting)
        source = self.theirs(place)
        (source / "odd").write_text("no business of theirs")
        before = source.stat()
        with pytest.raises(Conflict, match="odd"):
            driver.adopt(source, "data", {}, RECORD)
        after = source.stat()
        assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode) and names(driver) == []
        assert sorted(os.listdir(source)) == ["_data", "odd"]

    def test_no_link_on_the_way_is_followed(self, driver: VolumeDriver, place: Path) -> None:
        assert isinstance(driver, Adopting)
        self.theirs(place)
        way = place.with_name("way")
        way.symlink_to(place)
        with pytest.raises((OrlopError, OSError)):
            driver.adopt(way / "data", "data", {}, RECORD)
        assert (place / "data/_data/note").read_text() == "kept" and names(driver) == []
