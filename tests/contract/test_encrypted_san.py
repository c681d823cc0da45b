"""Encrypted volumes over a device of a SAN: the contract, ciphertext on the device, and still one writer to it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orlop.drivers.volumes.device_lease import DeviceLeases, HostLeases, NoLeases
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.encrypted import EncryptedVolumes
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.san import SanVolumes
from orlop.drivers.volumes.san_chain import is_writing
from orlop.errors import Conflict, Unsupported
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.testing.volumes import VolumeDriverContract, new_id
from support.daemon import wait_for
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san
from support.leaks import find_leaks

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

    def test_without_a_part_in_the_leases_of_hosts_nothing_is_written(self, driver: VolumeDriver) -> None:
        self.leases = NoLeases()
        shared = self.another()
        shared.create("data", self.options_of("data"), RECORD)
        before = self.target.luns[1].read_bytes()
        with pytest.raises(Unsupported, match="may have a writer on another host"):
            shared.attach("data", new_id())
        assert self.target.luns[1].read_bytes() == before
