"""Whatever a plugin says is either understood or an error, and never "there is none" by accident."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.drivers.volumes.plugin_answers import (
    LONGEST_TEXT,
    Misunderstood,
    Refused,
    parse_answer,
    parse_implements,
    parse_mountpoint,
    parse_scope,
    parse_volume,
    parse_volumes,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
WORDS = st.sampled_from(["Volume", "Volumes", "Err", "Name", "Mountpoint", "Status", "CreatedAt", "Capabilities"])


def answer(found: Any, status: int = 200) -> dict[str, Any]:
    return parse_answer("VolumeDriver.Get", status, json.dumps(found).encode())


@given(st.dictionaries(WORDS, JSON) | JSON)
def test_any_answer_is_understood_or_refused(found: Any) -> None:
    try:
        words = answer(found)
        volume = parse_volume(words, "data")
        assert volume is None or volume.name == "data"
        assert volume is not None or found.get("Volume", found.get("volume")) is None
        parse_volumes(words)
        parse_mountpoint(words, "VolumeDriver.Mount")
        assert parse_scope(words) in ("", "local", "global")
        parse_implements(words)
    except (Misunderstood, Refused):
        pass


@pytest.mark.parametrize("body", [b"", b"gibberish", b"[]", b"null", b"7", b'{"Err": ', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_object_is_an_error(body: bytes) -> None:
    with pytest.raises(Misunderstood):
        parse_answer("VolumeDriver.Get", 200, body)


def test_only_the_word_of_the_plugin_makes_a_volume_absent() -> None:
    assert parse_volume(answer({"Err": ""}), "data") is None
    assert parse_volume(answer({"Volume": None}), "data") is None
    for nonsense in ({"Volume": []}, {"Volume": "data"}, {"Volume": {"Name": "other"}}, {"Volume": {"Name": 5}}):
        with pytest.raises(Misunderstood):
            parse_volume(answer(nonsense), "data")


def test_an_error_is_passed_on_in_its_own_words() -> None:
    with pytest.raises(Refused, match=r"^no room$"):
        answer({"Err": "no room"})
    with pytest.raises(Refused, match=r"^VolumeDriver\.Get: no room$"):
        answer({"err": "no room"}, 500)
    with pytest.raises(Refused, match=r"^VolumeDriver\.Get: page not found$"):
        parse_answer("VolumeDriver.Get", 404, b"page not found\n")
    with pytest.raises(Refused, match=r"^VolumeDriver\.Get: HTTP status 502$"):
        parse_answer("VolumeDriver.Get", 502, b"")
    with pytest.raises(Misunderstood):
        answer({"Err": ["no", "room"]})


def test_an_error_text_cannot_flood_or_steer_a_terminal() -> None:
    with pytest.raises(Refused) as refused:
        answer({"Err": "\x1b[2J" + "x" * 100_000})
    assert "\x1b" not in str(refused.value) and len(str(refused.value)) <= LONGEST_TEXT + 3


def test_keys_are_found_in_any_case() -> None:
    volume = parse_volume(answer({"volume": {"name": "data", "MOUNTPOINT": "/x"}}), "data")
    assert volume is not None and volume.mountpoint == "/x"


def test_what_a_get_tells() -> None:
    told = {"Name": "data", "Mountpoint": "/x", "CreatedAt": "2026-01-02T03:04:05Z", "Status": {"Colour": "green"}}
    volume = parse_volume(answer({"Volume": told}), "data")
    assert volume is not None
    assert volume.created_at_ns == 1_767_323_045 * 10**9 and volume.status == {"Colour": "green"}
    for nonsense in ("yesterday", "0001-01-01T00:00:00Z", 5):
        found = parse_volume(answer({"Volume": {**told, "CreatedAt": nonsense}}), "data")
        assert found is not None and found.created_at_ns == 0


@pytest.mark.parametrize("path", ["relative", "./x", "/", "//", "/a/../b", "/with\0nul", "/" + "x" * 5000, 5, ["/x"]])
def test_a_mount_point_is_an_absolute_path_and_nothing_else(path: Any) -> None:
    with pytest.raises(Misunderstood):
        parse_mountpoint(answer({"Mountpoint": path}), "VolumeDriver.Mount")
    listed = parse_volumes(answer({"Volumes": [{"Name": "data", "Mountpoint": path}]}))
    assert listed[0].mountpoint == "", "in a listing it keeps nothing from being listed"


def test_no_mount_point_is_none() -> None:
    assert parse_mountpoint({}, "VolumeDriver.Mount") == parse_mountpoint({"mountpoint": ""}, "") == ""


@pytest.mark.parametrize(
    ("capabilities", "scope"),
    [({"Scope": "Global"}, "global"), ({"Scope": "local"}, "local"), ({"Scope": "cluster"}, ""), ([], ""), ({}, "")],
)
def test_a_scope_is_local_or_global(capabilities: Any, scope: str) -> None:
    assert parse_scope(answer({"Capabilities": capabilities})) == scope
