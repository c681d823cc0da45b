"""Other people's plugins keep the contract of volume drivers, as far as they keep the protocol."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Independent, Removal
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.plugin import PluginVolumes
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.errors import HostFailure
from orlop.testing.volume_changes import LastingUsesContract
from orlop.testing.volume_removal import RemovalContract
from orlop.testing.volumes import VolumeDriverContract
from support.daemon import wait_for
from support.disks import mounted_disk
from support.fake_plugin import FakePlugin
from support.lent_driver import LentDriver
from support.ports import listens
from support.rclone_plugin import RclonePlugin
from support.seaweed import program


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


class RealPlugin(VolumeDriverContract, LastingUsesContract):
    """A program that somebody runs, found by its socket in `plugins`."""

    undoes_creation = False
    plugin_name: str
    place: Path

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.sources: list[PluginSource] = []
        with ExitStack() as stack:
            (tmp_path / "plugins").mkdir()
            self.served(stack)
            found = self.another()
            yield found
            self.tidy(found)
            for source in self.sources:
                source.close()

    def served(self, stack: ExitStack) -> None:
        raise NotImplementedError

    def tidy(self, driver: PluginVolumes) -> None:
        """What the next test must not find, where it has the same plugin."""

    def another(self) -> PluginVolumes:
        self.sources.append(PluginSource(self.place / "run", [self.place / "plugins"]))
        found = self.sources[-1].find(self.plugin_name)
        assert found is not None
        return found

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
class TestOrlopsOwn(RealPlugin):
    """Both sides of the protocol are ours."""

    plugin_name = "ours"
    options = {"size": "8m"}

    @pytest.fixture(scope="class")
    def lent(self) -> Iterator[LentDriver]:
        lent = LentDriver()
        try:
            lent.start()
            yield lent
        finally:
            lent.close()

    @pytest.fixture(autouse=True)
    def found(self, lent: LentDriver) -> None:
        self.lent = lent

    def served(self, stack: ExitStack) -> None:
        (self.place / "plugins/ours.spec").write_text(f"unix://{self.lent.socket}")

    def tidy(self, driver: PluginVolumes) -> None:
        driver.detach_others(())
        run = self.place / "run" / self.plugin_name
        wait_for("it to be told of every end", lambda: not run.exists() or not any(run.iterdir()))
        for name in [stored.name for stored in driver.list_volumes()]:
            driver.remove(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
class TestRclone(RealPlugin):
    plugin_name = "rclone"

    def options_of(self, name: str) -> dict[str, str]:
        (self.place / "far" / name).mkdir(parents=True, exist_ok=True)
        return {"remote": f"far:{name}", "vfs-cache-mode": "writes", "vfs-write-back": "0s"}

    def served(self, stack: ExitStack) -> None:
        remotes = {"far": {"TYPE": "alias", "REMOTE": str(self.place / "far")}}
        plugin = RclonePlugin(self.place / "plugins", self.place / "rclone", remotes)
        stack.callback(plugin.close)
        plugin.start()
        stack.callback(plugin.kill)  # its stop waits for whoever may still ask

    def test_an_unknown_volume_is_not_found(self, driver: VolumeDriver) -> None:
        """It has an error for an answer, which could mean anything."""
        assert isinstance(driver, Independent) and driver.find("unknown") is None
        with pytest.raises(HostFailure, match="volume not found"):
            driver.get("unknown")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.skipif(not Path(program("buttervolume")).exists(), reason="buttervolume is not installed")
class TestButtervolume(RealPlugin):
    plugin_name = "btrfs"

    def served(self, stack: ExitStack) -> None:
        disk = stack.enter_context(mounted_disk(self.place, 200 << 20, "btrfs"))
        socket = self.place / "plugins/btrfs.sock"
        places = {"VOLUMES_PATH": f"{disk}/volumes/", "SNAPSHOTS_PATH": f"{disk}/snapshots/", "SOCKET": str(socket)}
        settings = {**places, "SCHEDULE": f"{self.place}/schedule.csv", "RUNPATH": str(self.place)}
        variables = {**os.environ, **{f"BUTTERVOLUME_{key}": value for key, value in settings.items()}}
        with (self.place / "log").open("wb") as said:
            process = subprocess.Popen([program("buttervolume"), "run"], env=variables, stdout=said, stderr=said)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_for("buttervolume to listen", lambda: listens(socket))

    def test_a_volume_that_was_made_is_found_and_listed(self, driver: VolumeDriver) -> None:
        """Its listing has names alone."""
        stored = self.made(driver)
        assert driver.get("data") == stored and stored.mountpoint
        assert [listed.name for listed in driver.list_volumes()] == ["data"]

    def test_an_unknown_volume_is_not_found(self, driver: VolumeDriver) -> None:
        """It has an error for an answer, which could mean anything."""
        assert isinstance(driver, Independent) and driver.find("unknown") is None
        with pytest.raises(HostFailure, match="no such volume"):
            driver.get("unknown")
