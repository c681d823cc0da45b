"""Encrypted volumes over a device of a SAN: the contract, ciphertext on the device, and still one writer to it."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from orlop.drivers.volumes.device_lease import DeviceLeases, HostLeases
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.encrypted import EncryptedVolumes
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.san import SanVolumes
from orlop.drivers.volumes.san_ways import is_writing
from orlop.errors import Conflict, Unavailable
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.kernel.process import child_pids
from orlop.testing.volumes import VolumeDriverContract, new_id
from support.daemon import wait_for
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san
from support.leaks import find_leaks
from support.leashes import lengthened, write_leash

LUNS = {"data": 1, "one": 1, "two": 2, "three": 3, "empty": 1, "used": 2, "other": 4}
RECORD = '{"id": "1"}'


@needs_san
class TestEncryptedOverSan(VolumeDriverContract):
    target: IscsiTarget
    leases: DeviceLeases

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.plain_run, self.run = tmp_path / "run/san", tmp_path / "run/encrypted-san"
        runs = (self.plain_run, self.run)
        self.leases = HostLeases(tmp_path / "run/leases", lambda holder: any(is_writing(run, holder) for run in runs))
        self.opened: list[EncryptedVolumes | SanVolumes] = []
        with iscsi_target(tmp_path, 1, 2, 3, 4) as self.target:
            yield self.another()
            for place in (tmp_path / "run").glob("*/programs/*"):
                MountProgram(place).end(0.0)
            for entry in mounts_at_or_below(tmp_path / "volumes"):
                unmount(entry.mount_point, MNT_DETACH)
            self.another().detach_others(())
            for one in self.opened:
                one.close()
            wait_for("everything to be gone", lambda: not find_leaks([tmp_path / "run", tmp_path / "volumes"]))

    def another(self) -> EncryptedVolumes:
        below = {"san": SanVolumes(self.place / "volumes/.inner/san", self.run, self.resolve, self.leases)}
        made = EncryptedVolumes(self.place / "volumes", self.place / "run/encrypted", below, self.resolve, 10)
        self.opened += [made, *below.values()]
        return made

    def resolve(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return {key: "of the tests" if value == "secret://vault" else value for key, value in options.items()}

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()

    def options_of(self, name: str) -> dict[str, str]:
        return {"driver": "san", "key": "secret://vault", **self.target.options(LUNS.get(name, 1))}

    def test_the_device_holds_ciphertext(self, driver: VolumeDriver) -> None:
        driver.create("data", self.options_of("data"), RECORD)
        use = new_id()
        (driver.attach("data", use) / "planted-name").write_text("planted content")
        driver.detach("data", use)
        stored = self.target.luns[1].read_bytes()
        assert b"gocryptfs.conf" in stored
        assert b"planted" not in stored

    def test_a_device_has_one_writer_encrypted_or_not(self, driver: VolumeDriver) -> None:
        plain = SanVolumes(self.place / "plain", self.plain_run, self.resolve, self.leases)
        self.opened.append(plain)
        plain.create("plain", self.target.options(1), RECORD)
        driver.create("data", self.options_of("data"), RECORD)
        use = new_id()
        driver.attach("data", use)
        with pytest.raises(Conflict, match="is in use by the volume"):
            plain.attach("plain", use)
        driver.detach("data", use)
        (plain.attach("plain", use) / "note").write_text("mine")
        with pytest.raises(Conflict, match="is in use by the volume plain"):
            driver.attach("data", use)
        plain.detach("plain", use)

    def test_what_encrypts_hangs_on_the_leash_too_and_begins_anew_on_the_next(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, EncryptedVolumes)
        driver.create("data", self.options_of("data"), RECORD)
        driver.tie("data", write_leash(self.place / "first", 60))
        data = driver.attach("data", new_id())
        left_open = os.open(data / "open", os.O_WRONLY | os.O_CREAT)
        os.write(left_open, b"kept\n")
        driver.cut("data", 5)
        assert not driver.is_reached("data") and not self.programs()
        with pytest.raises(OSError):
            (data / "late").touch()
        with pytest.raises(Unavailable, match="lost its write access"):
            driver.attach("data", new_id())
        driver.tie("data", write_leash(self.place / "second", 60))
        data = driver.attach("data", new_id())
        assert (data / "open").read_text() == "kept\n", "the last flush was in time"
        with pytest.raises(OSError):
            os.write(left_open, b"late\n")
        with suppress(OSError):
            os.close(left_open)
        assert sorted(path.name for path in data.iterdir()) == ["open"]

    def test_the_kernel_ends_both_programs_when_the_leash_is_over(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, EncryptedVolumes)
        driver.create("data", self.options_of("data"), RECORD)
        with lengthened(self.place / "leash", 4) as leash:
            driver.tie("data", leash)
            data, use = driver.attach("data", new_id()), new_id()
            for program in self.programs():
                os.kill(program, signal.SIGSTOP)
        wait_for("their end", lambda: not self.programs())
        with pytest.raises(OSError):
            (data / "late").touch()
        driver.tie("data", write_leash(self.place / "next", 60))
        (driver.attach("data", use) / "note").write_text("mine")

    def test_another_host_finds_the_same_and_takes_no_other_for_it(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, EncryptedVolumes)
        assert (driver.scope_of(self.options_of("data")), driver.scope_of({"driver": "local"})) == ("global", "local")
        driver.create("data", self.options_of("data"), RECORD)
        assert driver.identity("data") == ""
        use = new_id()
        (driver.attach("data", use) / "note").write_text("mine")
        driver.detach("data", use)
        driver.create("two", self.options_of("two"), RECORD)
        driver.expect("two", driver.identity("data"))
        with pytest.raises(Conflict, match="another"):
            driver.attach("two", use)
        assert driver.identity("data").count(" ") == 1

    def programs(self) -> list[int]:
        """Keepers, and what they keep."""
        records = [*self.place.glob("run/*/programs/*/program.json"), *self.place.glob("run/encrypted/*/program.json")]
        keepers = [pid for record in records if (pid := MountProgram(record.parent).pid)]
        return [*keepers, *(child for keeper in keepers for child in child_pids(keeper))]
