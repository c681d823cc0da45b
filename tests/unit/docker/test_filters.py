"""The `filters` parameter: two spellings, and nothing else."""

from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.docker.filters import parse_filters
from orlop.docker.messages import Body, Request
from orlop.errors import Malformed
from orlop.model.filters import Filters, matches_labels, parse_bool, require_known


class Nobody:
    def body_wanted(self) -> None: ...

    def body_full(self) -> None: ...


def parsed(text: str) -> Filters:
    return parse_filters(Request("GET", "/volumes", f"filters={quote(text, safe='')}", {}, Body(Nobody())))


words = st.text(max_size=8)
wanted = st.dictionaries(words, st.lists(words, max_size=4), max_size=4)


@given(wanted)
def test_both_spellings_mean_the_same(filters: dict[str, list[str]]) -> None:
    listed = parsed(msgspec.json.encode(filters).decode())
    assert listed == {key: tuple(values) for key, values in filters.items()}
    mapped = {key: dict.fromkeys(values, True) for key, values in filters.items()}
    assert parsed(msgspec.json.encode(mapped).decode()) == {
        key: tuple(dict.fromkeys(values)) for key, values in filters.items()
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=20) | json_values.map(lambda value: msgspec.json.encode(value).decode()))
def test_any_text_is_filters_or_refused(text: str) -> None:
    try:
        filters = parsed(text)
    except Malformed as refused:
        assert refused.why == "invalid filter"
        return
    for values in filters.values():
        assert all(isinstance(value, str) for value in values)


@given(wanted, st.lists(words, max_size=4))
def test_the_first_unknown_key_is_named(filters: dict[str, list[str]], known: list[str]) -> None:
    unknown = sorted(set(filters) - set(known))
    try:
        require_known({key: tuple(values) for key, values in filters.items()}, known)
    except Malformed as refused:
        assert refused.why == f"invalid filter '{unknown[0]}'"
        return
    assert not unknown


@given(st.dictionaries(st.text("ab=", min_size=1, max_size=3).filter(lambda key: "=" not in key), words, max_size=4))
def test_a_thing_matches_all_its_own_labels_and_no_other_value(labels: dict[str, str]) -> None:
    assert matches_labels(labels, labels) and matches_labels(
        labels, [f"{key}={value}" for key, value in labels.items()]
    )
    for key, value in labels.items():
        assert not matches_labels(labels, [f"{key}={value}x"])
    assert not matches_labels(None, ["zzz"]) and matches_labels(None, [])


@pytest.mark.parametrize("text", ["", "yes", "TrUe", "2", " 1"])
def test_only_gos_booleans_are_booleans(text: str) -> None:
    with pytest.raises(Malformed):
        parse_bool(text, "dangling")
    assert parse_bool("T", "dangling") and not parse_bool("False", "dangling")
