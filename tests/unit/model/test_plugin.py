"""Settings of managed plugins, what they ask for, and what their configuration says."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Conflict, Forbidden, Malformed
from orlop.model.plugin import (
    Plugin,
    PluginArguments,
    PluginConfig,
    PluginDevice,
    PluginMount,
    PluginSettings,
    PluginVariable,
    Privilege,
    carry_settings,
    change_settings,
    check_privileges,
    default_settings,
    required_privileges,
)
from orlop.model.plugin_config import parse_plugin_config, render_plugin_config

CONFIG = PluginConfig(
    types=("docker.volumedriver/1.0",),
    socket="x.sock",
    entrypoint=("/x",),
    network="host",
    mounts=(PluginMount("/state", "/srv", name="state", settable=("source",)), PluginMount("/fixed", "/etc")),
    variables=(PluginVariable("A", value="1", settable=("value",)), PluginVariable("B", settable=("value",))),
    arguments=PluginArguments("args", value=("a",), settable=("value",)),
    devices=(PluginDevice("/dev/fuse", "fuse", settable=("path", "other")),),
    capabilities=("CAP_SYS_ADMIN",),
)


def plugin(config: PluginConfig = CONFIG, enabled: bool = False) -> Plugin:
    return Plugin("0" * 64, "x:latest", "x", config, default_settings(config), "", (), enabled=enabled)


def test_settings_begin_as_the_configuration_says() -> None:
    settings = plugin().settings
    assert settings.variables == (("A", "1"),)
    assert (settings.arguments, settings.mounts, settings.devices) == (("a",), CONFIG.mounts, CONFIG.devices)


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ("A=x=y", lambda s: dict(s.variables)["A"] == "x=y"),
        ("A.value=2", lambda s: dict(s.variables)["A"] == "2"),
        ("B=new", lambda s: s.variables == (("A", "1"), ("B", "new"))),
        ("A", lambda s: dict(s.variables)["A"] == ""),
        ("args=b c", lambda s: s.arguments == ("b", "c")),
        ("state.source=/data", lambda s: [m.source for m in s.mounts] == ["/data", "/etc"]),
        ("fuse.path=/dev/other", lambda s: s.devices[0].path == "/dev/other"),
    ],
)
def test_a_setting_changes_what_it_names_and_nothing_else(wish: str, found: object) -> None:
    assert callable(found)
    assert found(change_settings(plugin(), [wish]))
    assert plugin().settings == default_settings(CONFIG)


@pytest.mark.parametrize("wish", ["", "=1", "C=1", "A.source=1", "fuse=/dev/x", "state.path=/x", "fuse.other=1"])
def test_what_cannot_be_set_is_refused(wish: str) -> None:
    with pytest.raises(Malformed):
        change_settings(plugin(), [wish])


def test_a_plugin_that_runs_is_not_changed() -> None:
    with pytest.raises(Conflict):
        change_settings(plugin(enabled=True), ["A=2"])


def test_settings_go_along_to_another_version_as_far_as_it_has_them() -> None:
    old = change_settings(plugin(), ["A=mine", "args=my own", "state.source=/data", "B=gone"])
    new = replace(
        CONFIG,
        variables=(PluginVariable("A", value="2", settable=("value",)), PluginVariable("NEW", value="shiny")),
        arguments=PluginArguments("args", value=("z",)),
    )
    assert carry_settings(CONFIG, old, new) == PluginSettings(
        (replace(CONFIG.mounts[0], source="/data"), CONFIG.mounts[1]),
        CONFIG.devices,
        (("A", "mine"), ("NEW", "shiny")),
        ("z",),
    )
    assert carry_settings(CONFIG, default_settings(CONFIG), new) == default_settings(new)


def test_exactly_what_is_needed_must_be_granted() -> None:
    needed = required_privileges(CONFIG)
    assert [each.name for each in needed] == ["network", "mount", "mount", "device", "capabilities"]
    check_privileges("x", CONFIG, list(reversed(needed)))
    more = Privilege("capabilities", "", ("CAP_SYS_ADMIN", "CAP_NET_ADMIN"))
    for granted in (needed[1:], [*needed, needed[0]], [*needed[:-1], more], []):
        with pytest.raises(Forbidden, match="incorrect privileges"):
            check_privileges("x", CONFIG, granted)


def test_field_names_match_whatever_their_case() -> None:
    raw = {
        "EntryPoint": ["/x"],
        "INTERFACE": {"Types": ["docker.volumedriver/1.0"], "Socket": "x.sock"},
        "Linux": {"AllowAllDevices": True, "capabilities": None},
        "PropagatedMount": "/mnt",
        "Env": [{"Name": "A", "Value": None}, {"name": "B", "value": ""}],
        "unknown": 1,
    }
    found = parse_plugin_config(json.dumps(raw))
    assert (found.entrypoint, found.all_devices, found.propagated_mount) == (("/x",), True, "/mnt")
    assert [each.value for each in found.variables] == [None, ""]
    assert found.abilities == ("volumedriver",)


@pytest.mark.parametrize(
    "change",
    [
        {"entrypoint": []},
        {"interface": {"socket": "../x"}},
        {"interface": {"socket": ""}},
        {"propagatedMount": "mnt"},
        {"propagatedMount": "/mnt/../etc"},
        {"mounts": [{"destination": "etc"}]},
        {"env": [1]},
        {"linux": {"allowAllDevices": "yes"}},
        {"interface": {"socket": "x.sock", "protocolScheme": "other/v1"}},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    sound = {"entrypoint": ["/x"], "interface": {"socket": "x.sock"}}
    parse_plugin_config(json.dumps(sound))
    with pytest.raises(Malformed):
        parse_plugin_config(json.dumps({**sound, **change}))


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_malformed(text: str) -> None:
    for parse in (parse_plugin_config, lambda raw: render_plugin_config(raw, ["sha256:0"], "x")):
        try:
            parse(text)
        except Malformed:
            continue


def test_what_was_written_by_hand_is_kept_when_it_is_packed() -> None:
    raw = json.dumps(
        {"Entrypoint": ["/x"], "interface": {"socket": "x.sock"}, "own": [1], "ROOTFS": {"diff_ids": ["y"]}}
    )
    packed = render_plugin_config(raw, ["sha256:0"], "orlop 1")
    assert json.loads(packed)["own"] == [1]
    assert parse_plugin_config(packed).diff_ids == ("sha256:0",)
