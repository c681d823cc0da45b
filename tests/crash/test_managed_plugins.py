"""The daemon is killed at every step of what `docker plugin` does; a plugin's volumes are never forgotten, and a plugin
that has nothing to do with it goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.test_walk import Scenario, _kill_at, _points_of
from support.daemon import LiveDaemon, Result
from support.managed_plugin import small_config, write_context
from support.registry import RegistryServer, registry


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry") / "docker") as found:
        yield found


@pytest.fixture(scope="module")
def ship(docker_command: Path, busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """As in test_walk, and a plugin that is enabled and has a volume."""
    daemon = LiveDaemon(docker_command)
    try:
        daemon.start()
        daemon.docker("import", busybox_tar, "busybox")
        daemon.docker("plugin", "create", "old", write_context(tmp_path_factory.mktemp("c") / "old", small_config()))
        daemon.docker("plugin", "enable", "old")
        daemon.docker("volume", "create", "-d", "old", "notes")
        write = "echo kept > /data/note; echo kept > /n/note; while :; do date > /n/now; sleep 0.2; done"
        daemon.docker(
            "run", "-d", "--name", "bystander", "-v", "data:/data", "-v", "notes:/n", "busybox", "sh", "-c", write
        )
        yield daemon
    finally:
        if not daemon.is_running:
            daemon.start()
        daemon.clear()
        for name in daemon.docker("plugin", "ls", "-q").stdout.split():
            daemon.docker("plugin", "rm", "-f", name)
        daemon.close()


@pytest.fixture(scope="module")
def remote(ship: LiveDaemon, server: RegistryServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A plugin that only the registry has, in its second version under this name."""
    name = f"{server.name}/tests/victim:1"
    context = write_context(tmp_path_factory.mktemp("c") / "victim", small_config(description="of the registry"))
    ship.docker("plugin", "create", name, context)
    ship.docker("plugin", "push", name)
    ship.docker("plugin", "rm", name)
    return name


def _there(daemon: LiveDaemon) -> bool:
    return daemon.docker("plugin", "inspect", "victim", code=None).returncode == 0


def _run(daemon: LiveDaemon) -> None:
    """It can be used, and then goes; the volume of another plugin is there as ever."""
    if "true" not in daemon.docker("plugin", "inspect", "-f", "{{.Enabled}}", "victim").stdout:
        daemon.docker("plugin", "enable", "victim")
    daemon.docker("run", "--rm", "--network", "none", "-v", "spare:/s", "--volume-driver", "victim", "busybox", "true")
    daemon.docker("volume", "rm", "spare")
    daemon.docker("plugin", "rm", "-f", "victim")
    _as_ever(daemon)


def _as_ever(daemon: LiveDaemon) -> None:
    assert daemon.docker("volume", "ls", "-q", "-f", "driver=old:latest").stdout == "notes\n"
    assert daemon.docker("exec", "bystander", "cat", "/n/note").stdout == "kept\n"


def _create(daemon: LiveDaemon, context: Path) -> Result:
    return daemon.docker("plugin", "create", "victim", context, code=None)


def _install(daemon: LiveDaemon, remote: str, *more: str) -> Result:
    return daemon.docker("plugin", "install", "--grant-all-permissions", "--alias", "victim", *more, remote, code=None)


def _installed(daemon: LiveDaemon, remote: str) -> None:
    if not _there(daemon):
        assert _install(daemon, remote).returncode == 0
    _run(daemon)


def _enabled(daemon: LiveDaemon, context: Path) -> None:
    _create(daemon, context)
    daemon.docker("plugin", "enable", "victim")


def _upgraded(daemon: LiveDaemon, remote: str) -> None:
    daemon.docker("plugin", "upgrade", "--grant-all-permissions", "--skip-remote-check", "victim", remote)
    assert "of the registry" in daemon.docker("plugin", "ls").stdout
    _run(daemon)


def _removed(daemon: LiveDaemon) -> None:
    if _there(daemon):
        daemon.docker("plugin", "rm", "-f", "victim")
    assert not _there(daemon)
    _as_ever(daemon)


def scenarios(context: Path, remote: str) -> dict[str, Scenario]:
    upgrade = ("plugin", "upgrade", "--grant-all-permissions", "--skip-remote-check", "victim", remote)
    found = [
        Scenario(
            "install",
            lambda d: None,
            lambda d: _install(d, remote),
            lambda d: _installed(d, remote),
            ("plugin.create", "plugin.enable"),
        ),
        Scenario(
            "upgrade",
            lambda d: _create(d, context),
            lambda d: d.docker(*upgrade, code=None),
            lambda d: _upgraded(d, remote),
            ("plugin.upgrade",),
        ),
        Scenario(
            "rm",
            lambda d: _enabled(d, context),
            lambda d: d.docker("plugin", "rm", "-f", "victim", code=None),
            _removed,
            ("plugin.disable", "plugin.remove"),
        ),
    ]
    return {scenario.name: scenario for scenario in found}


@pytest.mark.parametrize("name", ["install", "upgrade", "rm"])
def test_killed_at_every_step(name: str, ship: LiveDaemon, remote: str, tmp_path: Path) -> None:
    context = write_context(tmp_path / "victim", small_config())
    scenario = scenarios(context, remote)[name]
    points = _points_of(scenario, ship, tmp_path / "points")
    assert points, f"the scenario {name} passes no step of {scenario.operations}"
    bystander = ship.inspect("container", "bystander")["State"]["Pid"]
    for point in points:
        _kill_at(scenario, point, ship, bystander)
