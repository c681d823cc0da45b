"""Settings: the command line over the file over the defaults, and errors that name the setting."""

import json
from pathlib import Path
from typing import Any

import pytest

from orlop.daemon.config import Settings, load_settings
from orlop.errors import Malformed, NotFound


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_without_anything_the_places_are_dockers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("orlop.daemon.config.DEFAULT_CONFIG_FILE", tmp_path / "none.json")
    settings = load_settings({})
    assert settings.data_root == Path("/var/lib/docker")
    assert settings.hosts == ("unix:///var/run/docker.sock",)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "c.json", {"data-root": "/a", "exec-root": "/b", "debug": True, "hosts": ["unix:///x"]})
    settings = load_settings({"data_root": Path("/c"), "hosts": ()}, file)
    assert (settings.data_root, settings.exec_root, settings.debug) == (Path("/c"), Path("/b"), True)
    assert settings.hosts == ("unix:///x",)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"data-rot": "/a"}, 'unknown setting "data-rot"'),
        ({"debug": "yes"}, '"debug" must be a bool'),
        ({"hosts": "unix:///x"}, '"hosts" must be a list'),
        ({"hosts": [1]}, '"hosts" must be a list of texts'),
        ({"volume-grace-seconds": True}, "must be a int"),
        ({"data-root": "relative"}, "absolute path"),
        ({"cluster": "etcd://10.0.0.1"}, "--node"),
        ({"node": "ship-1"}, "there is no cluster"),
        ({"bip": "172.17.0.300/16"}, "--bip"),
        ({"bip": "172.17.0.0/16"}, "--bip .* leaves no address"),
        ({"bip": "172.17.0.1/32"}, "--bip .* leaves no address"),
        ({"volume-grace-seconds": -1}, "cannot be negative"),
        ([], "must be a JSON object"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        load_settings({}, written(tmp_path / "c.json", document))


def test_a_file_that_is_no_json_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(Malformed, match="no JSON"):
        load_settings({}, tmp_path / "c.json")
    with pytest.raises(NotFound, match="does not exist"):
        load_settings({}, tmp_path / "missing.json")


def test_each_data_root_has_a_bridge_of_its_own() -> None:
    one, other = Settings(data_root=Path("/a")), Settings(data_root=Path("/b"))
    assert one.bridge_name != other.bridge_name
    assert len(one.bridge_name) <= 15
    assert Settings().bridge_name == "orlop0"
    assert Settings(data_root=Path("/a"), bridge="br0").bridge_name == "br0"
