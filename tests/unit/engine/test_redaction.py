"""Whatever a program makes of a value that it repeats, nobody reads it."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis.strategies import text

from orlop.engine.redaction import compile_redaction, redact
from orlop.model.volume import HIDDEN, hide_secrets, secret_values


@given(text(min_size=6))
def test_a_value_is_found_in_every_spelling(value: str) -> None:
    pattern = compile_redaction([value])
    encoded = base64.b64encode(value.encode()).decode()
    for said in (value, json.dumps(value)[1:-1], quote(value, safe=""), encoded):
        assert redact(f"<{said}>", pattern) == f"<{HIDDEN}>"


def test_a_key_in_lines_is_found_by_each_of_its_lines() -> None:
    key = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIplanted\nb3BlbnNzaC1rZXktdjEAAAAAplanted\n-----END KEY-----\n"
    pattern = compile_redaction([key])
    assert redact("bad line MC4CAQAwBQYDK2VwBCIEIplanted in it", pattern) == f"bad line {HIDDEN} in it"
    assert redact("no -----BEGIN KEY----- found", pattern) == "no -----BEGIN KEY----- found"
    assert redact(key.replace("\n", "\\n"), pattern) == HIDDEN


@pytest.mark.parametrize(
    ("value", "said", "shown"),
    [
        ("pin1", "with pin1, refused", f"with {HIDDEN}, refused"),
        ("pin1", "spinning1 is no pin12", "spinning1 is no pin12"),
        ("me", "it is for me", "it is for me"),
        ("longer", "a word no longerish", f"a word no {HIDDEN}ish"),
    ],
)
def test_what_is_short_is_found_only_where_it_stands_alone(value: str, said: str, shown: str) -> None:
    assert redact(said, compile_redaction([value])) == shown


def test_the_longer_of_two_values_is_hidden_whole() -> None:
    assert redact("planted-and-more", compile_redaction(["planted", "planted-and-more"])) == HIDDEN


def test_without_values_nothing_is_hidden() -> None:
    assert redact("anything", compile_redaction([])) == "anything"


def test_the_values_of_options_are_those_that_are_hidden() -> None:
    options = {
        "secret-key": "one-value",
        "o": "rw,username=me%two-value,password=three,,value",
        "device": "https://me:four/value@host/x?token=five-value&y=1",
        "access-key": "secret://by-name",
        "bucket": "photos",
    }
    found = set(secret_values(options))
    assert found >= {"one-value", "two-value", "three,,value", "four/value", "five-value"}
    assert not [value for value in found for shown in hide_secrets(options).values() if value in shown]
