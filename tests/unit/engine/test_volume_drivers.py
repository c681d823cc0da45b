"""The set of volume drivers: those that are built in, and those that turn up."""

from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Independent
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.engine.volume_drivers import VolumeDrivers


@pytest.fixture
def drivers(tmp_path: Path) -> VolumeDrivers:
    (tmp_path / "plugins").mkdir()
    return VolumeDrivers(
        {"local": LocalVolumes(tmp_path / "volumes")}, PluginSource(tmp_path / "run", [tmp_path / "plugins"])
    )


def test_a_plugin_is_there_as_soon_as_something_names_it(drivers: VolumeDrivers, tmp_path: Path) -> None:
    assert list(drivers) == ["local"] and "far" not in drivers and drivers.get("far") is None
    (tmp_path / "plugins/far.spec").write_text("tcp://192.0.2.1:1")  # nobody is there, and nobody is asked
    assert list(drivers) == ["local", "far"] and len(drivers) == 2
    assert isinstance(drivers["far"], Independent)
    assert drivers["far:latest"] is drivers["far"]


def test_one_that_was_found_stays_when_its_file_goes(drivers: VolumeDrivers, tmp_path: Path) -> None:
    """It may only be away, and is to be told what is to be unmounted."""
    (tmp_path / "plugins/far.spec").write_text("tcp://192.0.2.1:1")
    found = drivers["far"]
    (tmp_path / "plugins/far.spec").unlink()
    assert drivers["far"] is found and "far" in dict(drivers.items())


def test_what_is_built_in_goes_first(drivers: VolumeDrivers, tmp_path: Path) -> None:
    (tmp_path / "plugins/local.spec").write_text("tcp://192.0.2.1:1")
    assert isinstance(drivers["local"], LocalVolumes) and drivers["local:latest"] is drivers["local"]
    assert list(drivers) == ["local"]


def test_a_file_that_makes_no_sense_is_told_to_whoever_uses_the_driver(drivers: VolumeDrivers, tmp_path: Path) -> None:
    (tmp_path / "plugins/far.json").write_text("{")
    with pytest.raises(Exception, match=r"far\.json"):
        drivers["far"].check("data", {})
