"""Devices of a SAN keep the contract of volume drivers, by iSCSI and by NBD."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.san import SanVolumes
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.testing.volume_changes import ChangingContract, LastingUsesContract, RenamingContract
from orlop.testing.volumes import RetirementContract, SelfDescribingContract, VolumeDriverContract
from support.daemon import wait_for
from support.iscsi_target import IscsiTarget, NbdServer, iscsi_target, nbd_server, needs_san
from support.leaks import find_leaks

LUNS = {"data": 1, "one": 1, "two": 2, "three": 3, "empty": 1, "used": 2, "other": 4}


class SanScene(VolumeDriverContract):
    holds_its_bytes = False

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.opened: list[SanVolumes] = []
        driver = self.another()
        yield driver
        for place in (tmp_path / "run/programs").glob("*"):
            MountProgram(place).end(0.0)  # nobody waits for storage any more
        for entry in mounts_at_or_below(tmp_path / "volumes"):
            unmount(entry.mount_point, MNT_DETACH)
        self.another().detach_others(())
        for one in self.opened:
            one.close()
        wait_for("everything to be gone", lambda: not find_leaks([tmp_path / "run", tmp_path / "volumes"]))

    def another(self) -> SanVolumes:
        self.opened.append(SanVolumes(self.place / "volumes", self.place / "run"))
        return self.opened[-1]

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()


@needs_san
class TestIscsi(
    SanScene, RetirementContract, SelfDescribingContract, RenamingContract, ChangingContract, LastingUsesContract
):
    target: IscsiTarget

    @pytest.fixture(autouse=True)
    def storage(self, tmp_path: Path) -> Iterator[None]:
        with iscsi_target(tmp_path, 1, 2, 3, 4) as self.target:
            yield

    def options_of(self, name: str) -> dict[str, str]:
        return self.target.options(LUNS.get(name, 1))


@needs_san
class TestNbd(SanScene):
    servers: dict[str, NbdServer]

    @pytest.fixture(autouse=True)
    def storage(self, tmp_path: Path) -> Iterator[None]:
        with nbd_server(tmp_path) as one, nbd_server(tmp_path) as two, nbd_server(tmp_path) as three:
            self.servers = {"data": one, "one": one, "empty": one, "two": two, "used": two, "three": three}
            yield

    def options_of(self, name: str) -> dict[str, str]:
        return self.servers.get(name, self.servers["data"]).options()
