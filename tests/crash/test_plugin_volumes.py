"""The daemon is killed at every step of what is done with a plugin's volume; afterwards the plugin has mounted what
running containers use and nothing else, and no volume that it has is lost to its user."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.house import disorder
from support.daemon import LiveDaemon, Result, wait_for
from support.fake_plugin import FakePlugin


@dataclass(frozen=True)
class Scenario:
    """As in test_walk."""

    prepare: Callable[[LiveDaemon], object]
    act: Callable[[LiveDaemon], Result]
    operations: tuple[str, ...]


def _make(daemon: LiveDaemon, start: bool = False) -> Result:
    command = ("create", "--name", "victim", "--volume-driver", "fake", "-v", "far:/etc", "-v", "far:/x", "busybox")
    made = daemon.docker(*command, "sleep", "1000", code=None)
    if start:
        daemon.docker("start", "victim")
    return made


SCENARIOS = {
    "volume create": Scenario(
        lambda d: None, lambda d: d.docker("volume", "create", "-d", "fake", "far", code=None), ("volume.create",)
    ),
    "create": Scenario(lambda d: None, _make, ("container.create", "volume.create")),
    "start": Scenario(_make, lambda d: d.docker("start", "victim", code=None), ("container.start",)),
    "stop": Scenario(
        lambda d: _make(d, start=True),
        lambda d: d.docker("stop", "-t", "0", "victim", code=None),
        ("container.cleanup",),
    ),
    "rm": Scenario(
        lambda d: _make(d, start=True),
        lambda d: d.docker("rm", "-f", "victim", code=None),
        ("container.cleanup", "container.remove"),
    ),
    "volume rm": Scenario(
        lambda d: d.docker("volume", "create", "-d", "fake", "far"),
        lambda d: d.docker("volume", "rm", "far", code=None),
        ("volume.remove",),
    ),
}


@pytest.fixture(scope="module")
def ship(
    docker_command: Path, busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveDaemon, FakePlugin]]:
    daemon = LiveDaemon(docker_command)
    plugin = FakePlugin(daemon.plugins, tmp_path_factory.mktemp("fake"))
    plugin.start()
    try:
        daemon.start()
        daemon.docker("import", busybox_tar, "busybox")
        yield daemon, plugin
    finally:
        daemon.close()
        plugin.stop()


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_every_step_with_a_plugins_volume(
    name: str, ship: tuple[LiveDaemon, FakePlugin], tmp_path: Path
) -> None:
    daemon, plugin = ship
    scenario = SCENARIOS[name]
    points = _points_of(scenario, daemon, tmp_path / "points")
    assert points, f"the scenario {name} passes no step of {scenario.operations}"
    for point in points:
        scenario.prepare(daemon)
        daemon.stop()
        daemon.start(environment={"ORLOP_FAULT": f"{point}=kill"})
        scenario.act(daemon)
        assert daemon.wait_for_exit() == -9, f"the daemon survived {point}"
        daemon.start()
        _insist_on_order(daemon, plugin, point)
        _redo(daemon, plugin)


def _points_of(scenario: Scenario, daemon: LiveDaemon, log: Path) -> list[str]:
    scenario.prepare(daemon)
    daemon.stop()
    daemon.start(environment={"ORLOP_FAULT_LOG": str(log)})
    log.write_text("")
    scenario.act(daemon)
    daemon.stop()
    daemon.start()
    daemon.docker("rm", "-f", "victim", code=None)
    daemon.docker("volume", "rm", "far", code=None)
    passed = dict.fromkeys(log.read_text().splitlines())
    steps = [point for point in passed if point.split("/")[0] in scenario.operations]
    return [point for point in steps if "volume." in point]  # test_walk walks the others


def _insist_on_order(daemon: LiveDaemon, plugin: FakePlugin, point: str) -> None:
    wait_for("the daemon to have recovered", lambda: daemon.docker("ps", code=None).returncode == 0)
    running = len(daemon.docker("ps", "-q").stdout.split())
    # What a crash cut off is let go of in the background.
    wait_for(f"the right mounts after {point}", lambda: len(plugin.mounted["far"]) == 2 * running)
    wait_for(f"the right uses after {point}", lambda: len(_uses(daemon)) == 2 * running)
    assert sorted(plugin.mounted["far"]) == sorted(set(plugin.mounted["far"])), f"mounted twice after {point}"
    # It has no folder here, and no record beside its data.
    wrong = [line for line in disorder(daemon) if not line.startswith(("volume folder missing: far", "record beside"))]
    assert wrong == [], f"after a kill at {point}:\n{daemon.logs()}"
    listed = daemon.docker("volume", "ls", "-q").stdout.split()
    assert not plugin.volumes or listed == ["far"], f"a volume of the plugin is lost after {point}"


def _uses(daemon: LiveDaemon) -> list[Path]:
    folder = daemon.exec_root / "plugins/fake"
    return list(folder.iterdir()) if folder.exists() else []


def _redo(daemon: LiveDaemon, plugin: FakePlugin) -> None:
    """Whatever happened, its user can go on, and end it."""
    daemon.docker("rm", "-f", "victim", code=None)
    _make(daemon, start=True)
    assert daemon.inspect("container", "victim")["State"]["Running"]
    daemon.docker("rm", "-f", "victim")
    daemon.docker("volume", "rm", "far")
    assert plugin.volumes == {} and not plugin.mounted["far"]
