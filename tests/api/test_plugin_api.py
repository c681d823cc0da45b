"""/plugins by raw requests: statuses and texts are Docker's (ORLOP_TEST_PEER plays them against it)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.asking import Api
from support.daemon import LiveDaemon
from support.managed_plugin import small_config, write_context


@pytest.fixture
def small(daemon: LiveDaemon, tmp_path: Path) -> Iterator[LiveDaemon]:
    daemon.docker("plugin", "create", "small", write_context(tmp_path / "c", small_config()))
    yield daemon
    for volume in daemon.docker("volume", "ls", "-q").stdout.split():
        daemon.docker("volume", "rm", "-f", volume)
    daemon.docker("plugin", "rm", "-f", "small")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/plugins/none/json", None),
        ("POST", "/plugins/none/enable?timeout=0", None),
        ("POST", "/plugins/none/disable", None),
        ("POST", "/plugins/none/set", ["A=b"]),
        ("POST", "/plugins/none/push", None),
        ("DELETE", "/plugins/none", None),
    ],
)
def test_a_plugin_that_is_not_there(method: str, path: str, body: object, api: Api) -> None:
    assert api.refused(404, method, path, body).startswith('plugin "none" not found')


def test_filters(small: LiveDaemon, api: Api) -> None:
    assert "nvalid filter 'nonsense'" in api.refused(400, "GET", "/plugins", filters={"nonsense": ["x"]})
    assert "nvalid filter 'enabled=" in api.refused(400, "GET", "/plugins", filters={"enabled": ["maybe"]})

    def names(**filters: list[str]) -> list[str]:
        return [each["Name"] for each in api.ok("GET", "/plugins", filters=filters)]

    assert names() == names(capability=["volumedriver"]) == names(enabled=["false"]) == ["small:latest"]
    assert names(capability=["networkdriver"]) == names(enabled=["true"]) == []


def test_what_a_state_does_not_allow(small: LiveDaemon, api: Api) -> None:
    assert "found but disabled" in api.refused(409, "POST", "/plugins/small/disable")
    api.ok("POST", "/plugins/small/enable", timeout=30)
    enabled = "plugin small:latest is enabled"
    assert api.refused(409, "POST", "/plugins/small/enable", timeout=30).startswith(
        f"plugin already enabled: {enabled}"
    )
    assert api.refused(409, "DELETE", "/plugins/small").startswith(enabled)
    upgrade = api.refused(409, "POST", "/plugins/small/upgrade", [], remote="127.0.0.1:1/x")
    assert upgrade.startswith(f"plugin must be disabled before upgrading: {enabled}")
    assert api.ok("POST", "/volumes/create", {"Name": "v", "Driver": "small"})["Driver"] == "small:latest"
    for method, path in (("POST", "/plugins/small/disable"), ("DELETE", "/plugins/small")):
        assert api.refused(409, method, path).startswith("plugin small:latest is in use")
    api.ok("POST", "/plugins/small/disable", force=1)
    assert "found but disabled" in api.refused(409, "POST", "/volumes/create", {"Name": "w", "Driver": "small"})
    assert "found but disabled" in api.refused(409, "DELETE", "/volumes/v")


def test_what_inspect_shows(small: LiveDaemon, api: Api) -> None:
    shown = api.ok("GET", "/plugins/small/json")
    assert {"Config", "Enabled", "Id", "Name", "Settings"} <= set(shown)
    config, settings = shown["Config"], shown["Settings"]
    assert config["Interface"] == {"Socket": "small.sock", "Types": ["docker.volumedriver/1.0"]}
    assert config["Args"] == {"Description": "", "Name": "args", "Settable": ["value"], "Value": ["one"]}
    assert config["Env"][0] == {
        "Description": "what it says",
        "Name": "GREETING",
        "Settable": ["value"],
        "Value": "hello",
    }
    assert config["Linux"] == {"AllowAllDevices": False, "Capabilities": ["CAP_SYS_ADMIN"], "Devices": None}
    assert (config["PropagatedMount"], config["Network"], config["User"]) == ("/mnt/volumes", {"Type": "none"}, {})
    assert settings["Mounts"] == config["Mounts"]
    assert (settings["Args"], settings["Devices"]) == (["one"], [])
    assert "GREETING=hello" in settings["Env"]
