import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.image import ImageConfig
from orlop.model.image_config import ConfigFile, HistoryEntry, parse_config_file, render_config_file

words = st.text("abc/ä=", min_size=1, max_size=5)
lists = st.lists(words, max_size=3).map(tuple)
sets = st.sets(words, max_size=3).map(lambda items: tuple(sorted(items)))
configs = st.builds(
    ImageConfig,
    env=lists,
    entrypoint=st.none() | lists,
    command=st.none() | lists,
    user=words,
    workdir=words,
    volumes=sets,
    exposed_ports=sets,
    labels=st.dictionaries(words, words, max_size=2),
    stop_signal=words,
    shell=lists,
    on_build=lists,
    healthcheck=st.sampled_from(["", '{"Test":["NONE"]}']),
)
history = st.builds(HistoryEntry, words, words, words, words, st.booleans())
files = st.builds(ConfigFile, configs, lists, st.lists(history, max_size=2).map(tuple), *[words] * 6)


@given(files)
def test_rendered_file_is_read_back_as_the_same_value(file: ConfigFile) -> None:
    raw = render_config_file(file)
    assert parse_config_file(raw) == file
    assert render_config_file(parse_config_file(raw)) == raw


def test_null_stands_for_nothing_everywhere() -> None:
    fields = [
        "Env",
        "Cmd",
        "Entrypoint",
        "Volumes",
        "ExposedPorts",
        "Labels",
        "OnBuild",
        "Shell",
        "Healthcheck",
        "User",
    ]
    raw = json.dumps({"config": dict.fromkeys(fields), "rootfs": {"diff_ids": None}, "history": None, "created": None})
    assert parse_config_file(raw) == ConfigFile()
    assert parse_config_file('{"config":null,"rootfs":null}') == ConfigFile()


def test_empty_command_differs_from_none() -> None:
    assert parse_config_file('{"config":{"Cmd":[]}}').config.command == ()
    assert parse_config_file('{"config":{}}').config.command is None


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"config":[]}', "config: it is not a JSON object"),
        (b'{"config":{"Env":"A=1"}}', "Env must be a list"),
        (b'{"config":{"Env":[1]}}', "Env must be a list of texts"),
        (b'{"config":{"Labels":{"a":1}}}', "Labels must be an object of texts"),
        (b'{"config":{"Volumes":["/a"]}}', "Volumes must be an object"),
        (b'{"config":{"User":7}}', "User must be text"),
        (b'{"history":[{"empty_layer":"yes"}]}', "empty_layer must be true or false"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'"\xff"', "not valid JSON"),
        ('{"created":"x"}'.encode("utf-16"), "not valid JSON"),
        (rb'{"created":"\ud800"}', "not valid JSON"),
        (b'{"n":' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_what_no_tool_writes_is_refused_naming_the_file_and_the_field(raw: bytes, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_config_file(raw, "blobs/sha256/abc")
    assert "blobs/sha256/abc" in refused.value.message
    assert why in refused.value.message


@given(st.binary(max_size=60))
def test_any_bytes_are_either_a_file_or_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_config_file(b"\x00" + raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Env", "a"]), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["config", "rootfs", "history", "created", "os"]), json_values))
def test_any_json_is_either_a_file_or_malformed(document: object) -> None:
    try:
        parse_config_file(json.dumps(document))
    except Malformed as error:
        assert error.message
