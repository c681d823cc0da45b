"""`orlop daemon` hands its options to the daemon, and nothing that was not given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orlop.cli.main import run
from orlop.daemon.config import load_settings

Given = list[tuple[Mapping[str, Any], Path | None]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    calls: Given = []

    def note(options: Mapping[str, Any], config_file: Path | None = None) -> int:
        calls.append((options, config_file))
        return 0

    monkeypatch.setattr("orlop.daemon.main.run", note)
    return calls


def test_what_is_not_given_is_left_to_the_configuration_file(given: Given) -> None:
    assert run(["daemon"]) == 0
    assert given == [({}, None)]


def test_every_option_is_a_setting_of_the_daemon(given: Given, tmp_path: Path) -> None:
    line = (
        "daemon --data-root /d --exec-root /e -H unix:///a -H unix:///b -G me -s vfs --runtime runc -b br0"
        " --bip 10.1.0.1/24 --volume-grace 2h --anonymous-volume-grace 90 --volume-low-space 5 -D"
    )
    assert run([*line.split(), "--config", str(tmp_path / "c.json")]) == 0
    [(options, config_file)] = given
    assert config_file == tmp_path / "c.json"
    tmp_path.joinpath("c.json").write_text("{}")
    settings = load_settings(options, config_file)
    assert settings.hosts == ("unix:///a", "unix:///b")
    assert (settings.volume_grace_seconds, settings.anonymous_volume_grace_seconds) == (7200, 90)
    assert (settings.data_root, settings.bridge_name, settings.debug) == (Path("/d"), "br0", True)


def test_no_grace_at_all_is_something_that_is_given(given: Given) -> None:
    assert run(["daemon", "--volume-grace", "0"]) == 0
    assert given == [({"volume_grace_seconds": 0}, None)]


def test_the_address_may_stand_before_the_command(given: Given) -> None:
    assert run(["--host", "unix:///a", "daemon"]) == 0
    assert given[0][0] == {"hosts": ("unix:///a",)}


@pytest.mark.parametrize("line", ["--volume-grace soon", "--volume-low-space 101", "--nonsense", "extra"])
def test_mistakes_start_no_daemon(given: Given, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["daemon", *line.split()]) in (1, 125)
    assert capfd.readouterr().err.startswith("orlop: ")
    assert not given
