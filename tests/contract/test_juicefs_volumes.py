"""JuiceFS volumes keep the contract; metadata in SQLite, data in a directory: the cheap kind of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.juicefs import JuicefsBackend
from orlop.drivers.volumes.juicefs_meta import find_file_system, parse_meta
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.served import ServedVolumes
from orlop.errors import Conflict, HostFailure, Unavailable
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.testing.volume_changes import ChangingContract, LastingUsesContract
from orlop.testing.volumes import RetirementContract, SelfDescribingContract, VolumeDriverContract, new_id
from support.daemon import wait_for

RECORD = '{"id": "1"}'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


class TestJuicefs(
    VolumeDriverContract, RetirementContract, SelfDescribingContract, ChangingContract, LastingUsesContract
):
    holds_its_bytes = True

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.opened: list[ServedVolumes] = []
        yield self.another()
        for entry in mounts_at_or_below(tmp_path):
            unmount(entry.mount_point, MNT_DETACH)
        self.another().detach_others(())
        run = tmp_path / "run"
        wait_for("the programs to end", lambda: not run.exists() or not any(run.iterdir()))
        for one in self.opened:
            one.close()

    def options_of(self, name: str) -> dict[str, str]:
        """Each volume is a file system of its own."""
        meta = f"sqlite3://{self.place}/{name}.db"
        return {"meta": meta, "name": f"fs-{name}", "bucket": f"{self.place}/far-{name}"}

    def another(self) -> ServedVolumes:
        self.opened.append(ServedVolumes(self.place / "volumes", self.place / "run", JuicefsBackend()))
        return self.opened[-1]

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()

    def test_what_is_closed_is_in_the_storage(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        path = driver.attach("data", use)
        (path / "big").write_bytes(os.urandom(6 << 20))
        chunks = [file for file in (self.place / "far-data").rglob("*_*_*") if file.is_file()]
        assert sum(file.stat().st_size for file in chunks) == 6 << 20
        driver.detach("data", use)

    def test_a_last_detach_waits_until_what_was_not_closed_is_in_the_storage(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        fd = os.open(driver.attach("data", use) / "note", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"kept")
        (program,) = (self.place / "run").iterdir()
        process = MountProgram(program)
        os.close(fd)
        driver.detach("data", use)
        assert not process.is_alive() and not program.exists()
        assert self.read(driver) == "kept"

    def test_two_volumes_on_one_file_system_see_each_others_writes_at_once(self, driver: VolumeDriver) -> None:
        one, two = new_id(), new_id()
        for name in ("one", "two"):
            driver.create(name, self.options_of("shared"), RECORD)
        here, there = driver.attach("one", one), driver.attach("two", two)
        (here / "note").write_text("from one")
        assert (there / "note").read_text() == "from one"
        (there / "note").write_text("from the other")
        assert (here / "note").read_text() == "from the other"
        (here / "note").rename(here / "moved")
        assert (there / "moved").read_text() == "from the other"
        (here / "new").write_text("in its place")
        (here / "new").rename(here / "moved")
        assert (there / "moved").read_text() == "in its place"
        driver.detach("one", one)
        driver.detach("two", two)

    def test_a_part_of_the_file_system_and_reading_only(self, driver: VolumeDriver) -> None:
        options = self.options_of("data")
        driver.create("data", options | {"subdir": "a/b"}, RECORD)
        self.written(driver)
        driver.create("whole", options | {"read-only": "true"}, RECORD)
        use = new_id()
        path = driver.attach("whole", use)
        assert (path / "a/b/note").read_text() == "kept"
        with pytest.raises(OSError, match="Read-only"):
            (path / "other").write_text("x")
        driver.detach("whole", use)

    def test_another_file_system_in_its_place_is_refused_and_so_is_none(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        kept = self.place / "kept"
        kept.mkdir()
        for file in self.place.glob("data.db*"):
            file.rename(kept / file.name)
        with pytest.raises(HostFailure, match=r"is no longer in sqlite3://.*it is not formatted anew"):
            driver.attach("data", new_id())
        assert not list(self.place.glob("data.db*")), "asking makes no file"
        options = self.options_of("data") | {"bucket": f"{self.place}/other"}
        driver.create("other", options, RECORD)
        self.written(driver, "other")
        with pytest.raises(Conflict, match="another file system is not mounted in its place"):
            driver.attach("data", new_id())
        for file in self.place.glob("data.db*"):
            file.unlink()
        for file in kept.iterdir():
            file.rename(self.place / file.name)
        assert self.read(driver) == "kept"

    def test_a_file_system_of_another_name_is_not_formatted(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        driver.create("other", self.options_of("data") | {"name": "other"}, RECORD)
        with pytest.raises(Conflict, match="holds the file system fs-data, and not other"):
            driver.attach("other", new_id())
        assert self.read(driver) == "kept"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"format": "never"}, "there is no file system in sqlite3://"),
            ({"bucket": ""}, "no bucket for a new one"),
            ({"read-only": "yes"}, "none is made for reading only"),
        ],
    )
    def test_no_file_system_is_made_where_none_was_wished_or_can_be(
        self, driver: VolumeDriver, change: dict[str, str], said: str
    ) -> None:
        driver.create("data", self.options_of("data") | change, RECORD)
        with pytest.raises(HostFailure, match=said):
            driver.attach("data", new_id())
        assert find_file_system("", parse_meta("", self.options_of("data")["meta"])) is None
        assert not (self.place / "run").exists() or not any((self.place / "run").iterdir())

    def test_metadata_that_cannot_be_reached_is_said(self, driver: VolumeDriver) -> None:
        driver.create("data", {"meta": "postgres://me:planted@127.0.0.1:9/db", "format": "never"}, RECORD)
        with pytest.raises(Unavailable, match=r"postgres://me:@127.0.0.1:9/db cannot be reached: .*refused") as refused:
            driver.attach("data", new_id())
        assert "planted" not in str(refused.value)
