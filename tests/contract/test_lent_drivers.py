"""A driver that is served to other engines, asked by the side of the protocol that uses plugins: the contract holds.

What the protocol has no words for is no promise here: a volume that was made is not undone, and its mountpoint is told
by those who mount it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.kernel.mounts import is_mount_point
from orlop.testing.volume_changes import LastingUsesContract
from orlop.testing.volumes import VolumeDriverContract, new_id
from support.lent_driver import LentDriver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LentDriver]:
    plugin = LentDriver(socket_path=tmp_path_factory.mktemp("plugins") / "lent.sock")
    plugin.start()
    yield plugin
    plugin.close()


class Lent(VolumeDriverContract, LastingUsesContract):
    undoes_creation = False

    @pytest.fixture
    def driver(self, tmp_path: Path, plugin: LentDriver) -> Iterator[VolumeDriver]:
        self.place, self.plugin = tmp_path, plugin
        self.sources: list[PluginSource] = []
        yield self.another()
        for source in self.sources:
            source.close()
        for volume in plugin.called("List")["Volumes"]:
            for use in plugin.uses():
                plugin.called("Unmount", Name=volume["Name"], ID=use)
            plugin.called("Remove", Name=volume["Name"])

    def another(self) -> VolumeDriver:
        self.sources.append(PluginSource(self.place / "run", [self.plugin.socket.parent]))
        found = self.sources[-1].find("lent:latest")
        assert found is not None
        return found

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        """Both ends are started anew."""
        self.plugin.restart()
        return self.another()


class TestDirectory(Lent):
    pass


class TestLimited(Lent):
    options = {"size": "20m"}
    own_entries = frozenset({"lost+found"})

    def test_it_is_mounted_for_its_users_alone(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        path = driver.attach("data", use)
        assert is_mount_point(path)
        driver.detach("data", use)
        assert not is_mount_point(path) and not driver.get("data").mountpoint
