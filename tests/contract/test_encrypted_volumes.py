"""Encrypted volumes keep the contract, and what is below them is ciphertext."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.encrypted import EncryptedVolumes
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.errors import Conflict, Forbidden, HostFailure, Malformed, Unsupported
from orlop.kernel.mounts import MNT_DETACH, is_mount_point, mounts_at_or_below, unmount
from orlop.testing.volume_changes import ChangingContract, LastingUsesContract, RenamingContract
from orlop.testing.volumes import RetirementContract, SelfDescribingContract, VolumeDriverContract, new_id
from support.daemon import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

RECORD = '{"id": "1"}'
OPTIONS = {"key": "secret://vault"}


class TestEncrypted(
    VolumeDriverContract,
    RetirementContract,
    SelfDescribingContract,
    ChangingContract,
    RenamingContract,
    LastingUsesContract,
):
    options = OPTIONS

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.secrets = {"secret://vault": "the key of the tests", "secret://other": "another key"}
        self.opened: list[EncryptedVolumes] = []
        yield self.another()
        for entry in mounts_at_or_below(tmp_path):
            unmount(entry.mount_point, MNT_DETACH)
        self.another().detach_others(())
        run = tmp_path / "run"
        wait_for("the programs to end", lambda: not run.exists() or not any(run.iterdir()))
        for one in self.opened:
            one.close()

    def another(self) -> EncryptedVolumes:
        below = {name: LocalVolumes(self.place / "volumes/.inner" / name) for name in ("local", "second")}
        root, run = self.place / "volumes", self.place / "run"
        self.opened.append(EncryptedVolumes(root, run, below, self.resolve, guessing_cost=10))
        return self.opened[-1]

    def resolve(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return {key: self.secrets.get(value, value) for key, value in options.items()}

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()

    @property
    def below(self) -> Path:
        """The data of the only volume below."""
        (found,) = (self.place / "volumes/.inner/local").glob("[!.]*")
        return found / "_data"

    def test_what_is_below_is_ciphertext(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        top = driver.attach("data", use)
        (top / "planted-folder").mkdir()
        (top / "planted-folder/planted-name").write_text("planted content " * 1000)
        (top / "planted-link").symlink_to("planted-target")
        os.setxattr(top / "planted-folder", "user.planted", b"planted value")
        driver.detach("data", use)
        assert os.listdir(top) == []
        entries = list(self.below.rglob("*"))
        assert len(entries) == 6  # the configuration, two marks of directories, and what was written
        for path in entries:
            assert "planted" not in str(path.relative_to(self.place))
            held = bytes(path.readlink()) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
            names = [] if path.is_symlink() else os.listxattr(path)
            held += b"".join(name.encode() + os.getxattr(path, name) for name in names)
            assert b"planted" not in held and b"key of the tests" not in held

    def test_it_behaves_as_a_directory(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        top = driver.attach("data", use)
        (top / ("n" * 200)).write_bytes(b"x" * 5000)
        os.link(top / ("n" * 200), top / "hard")
        os.chown(top / "hard", 7, 8)
        os.mkfifo(top / "fifo", 0o640)
        with (top / "sparse").open("wb") as file:
            file.truncate(1 << 20)
        driver.detach("data", use)
        top = driver.attach("data", use)
        seen = (top / ("n" * 200)).stat()
        assert (seen.st_uid, seen.st_gid, seen.st_nlink, seen.st_size) == (7, 8, 2, 5000)
        assert (top / "sparse").read_bytes() == bytes(1 << 20)
        driver.detach("data", use)

    def test_a_wrong_key_is_said_and_nothing_stays_attached(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        self.secrets["secret://vault"] = "a wrong one"
        with pytest.raises(Forbidden, match="attaching volume data: its key does not fit") as refused:
            driver.attach("data", new_id())
        assert "a wrong one" not in str(refused.value)
        assert not mounts_at_or_below(self.place) and not any((self.place / "run").iterdir())
        self.secrets["secret://vault"] = "the key of the tests"
        assert self.read(driver) == "kept"

    def test_other_data_in_its_place_is_refused(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        below = self.below
        below.rename(self.place / "kept")
        assert "is missing" in driver.get("data").problem
        below.mkdir()
        with pytest.raises(HostFailure, match=r"is no longer in .*it is not made anew"):
            driver.attach("data", new_id())
        assert os.listdir(below) == []
        self.made(driver, "other")
        self.written(driver, "other")
        (other,) = (path for path in below.parent.parent.glob("*/_data") if path != below)
        below.rmdir()
        other.rename(below)
        with pytest.raises(Conflict, match="its encrypted data is another volume's"):
            driver.attach("data", new_id())
        below.rename(other)
        (self.place / "kept").rename(below)
        assert self.read(driver) == "kept" and self.read(driver, "other") == "kept"

    def test_plain_files_below_are_refused(self, driver: VolumeDriver) -> None:
        (self.place / "plain").mkdir()
        (self.place / "plain/letter").write_text("plain")
        bind = {"type": "none", "o": "bind", "device": str(self.place / "plain")}
        driver.create("data", OPTIONS | bind, RECORD)
        with pytest.raises(Conflict, match="is not empty, and nothing that gocryptfs encrypted: letter"):
            driver.attach("data", new_id())
        assert os.listdir(self.place / "plain") == ["letter"]
        assert not mounts_at_or_below(self.place)

    def test_a_making_that_was_cut_off_is_made_again(self, driver: VolumeDriver) -> None:
        (self.place / "far").mkdir()
        (self.place / "far/gocryptfs.conf").write_text("{")
        driver.create("data", OPTIONS | {"type": "none", "o": "bind", "device": str(self.place / "far")}, RECORD)
        self.written(driver)
        assert self.read(driver) == "kept"

    def test_the_program_is_killed_and_nothing_is_lost(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        (driver.attach("data", use) / "note").write_text("kept")
        (place,) = (self.place / "run").iterdir()
        os.kill(MountProgram(place).pid, signal.SIGKILL)
        driver.detach("data", use)
        assert self.read(self.reopened(driver)) == "kept"

    def test_what_a_crash_left_attached_below_is_let_go_of(self, driver: VolumeDriver) -> None:
        """Killed after the volume below was attached, and before gocryptfs had mounted."""
        (self.place / "far").mkdir()
        self.options = OPTIONS | {"type": "none", "o": "bind", "device": str(self.place / "far")}
        self.made(driver)
        self.written(driver)
        use = new_id()
        path = driver.attach("data", use)
        (place,) = (self.place / "run").iterdir()
        unmount(str(path))
        wait_for("gocryptfs to end", lambda: not MountProgram(place).is_alive())
        assert is_mount_point(self.below)
        again = self.another()
        again.detach_others([use])
        assert not is_mount_point(self.below)
        assert self.read(again) == "kept"

    def test_a_purge_destroys_what_is_below_as_well_and_nothing_else(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, EncryptedVolumes)
        for name in ("one", "two"):
            self.made(driver, name)
            self.written(driver, name)
            driver.retire(name, name.ljust(64, "0"), RECORD)
        driver.purge("one".ljust(64, "0"))
        again = self.another()
        again.cleanup()
        again.restore("two".ljust(64, "0"), "two", RECORD)
        assert self.read(again, "two") == "kept"
        assert len(list((self.place / "volumes/.inner/local").rglob("gocryptfs.conf"))) == 1

    def test_a_limit_of_the_volume_below_holds(self, driver: VolumeDriver) -> None:
        self.options = OPTIONS | {"size": "64m"}
        self.made(driver)
        use = new_id()
        top = driver.attach("data", use)
        with pytest.raises(OSError, match=r"No space|quota"), (top / "big").open("wb") as file:
            for _ in range(80):
                file.write(os.urandom(1 << 20))
        (top / "big").unlink()
        (top / "note").write_text("kept")
        driver.detach("data", use)
        assert self.read(driver) == "kept"

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({}, 'missing required option: "key"'),
            ({"key": "plainly"}, "key names no secret"),
            (OPTIONS | {"driver": "cloud"}, "driver is 'cloud', and can be local, second"),
            (OPTIONS | {"colour": "red"}, "colour"),
        ],
    )
    def test_options_that_could_never_work_are_refused(
        self, driver: VolumeDriver, options: dict[str, str], said: str
    ) -> None:
        with pytest.raises(Malformed, match=said):
            driver.check("data", options)

    def test_a_volume_does_not_change_the_driver_below(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, EncryptedVolumes)
        self.made(driver)
        with pytest.raises(Unsupported, match="is in a local volume, and stays there"):
            driver.change("data", OPTIONS | {"driver": "second"}, RECORD)
