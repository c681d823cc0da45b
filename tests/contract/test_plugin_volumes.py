"""Other people's plugins keep the contract of volume drivers, as far as they keep the protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import Independent, Removal, VolumeDriver
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.testing.volume_changes import LastingUsesContract
from orlop.testing.volume_removal import RemovalContract
from orlop.testing.volumes import VolumeDriverContract
from support.fake_plugin import FakePlugin


class TestPlugin(VolumeDriverContract, LastingUsesContract, RemovalContract):
    undoes_creation = False
    holds_its_bytes = False  # the plugin of the tests forgets a removed volume, and not its folder

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.plugin = FakePlugin(tmp_path / "plugins", tmp_path / "volumes")
        self.plugin.start()
        self.sources: list[PluginSource] = []
        yield self.another()
        for source in self.sources:
            source.close()
        self.plugin.stop()

    def another(self) -> VolumeDriver:
        self.sources.append(PluginSource(self.place / "run", [self.place / "plugins"]))
        found = self.sources[-1].find("fake:latest")
        assert found is not None
        return found

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()

    def test_it_is_somebody_elses_and_removes_for_good(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Independent) and isinstance(driver, Removal)
        self.made(driver)
        driver.remove("data")
        assert driver.find("data") is None
        driver.remove("data")
