import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.moments import parse_moment, render_moment

NOW = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.5", 1_700_000_000 * 10**9 + 500_000_000),
        ("1700000000.000000001", 1_700_000_000 * 10**9 + 1),
        ("10m", NOW - 600 * 10**9),
        ("1h30m", NOW - 5400 * 10**9),
        ("1.5s", NOW - 1_500_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * 10**9),
        ("2023-11-14T22:13:20.000000007Z", 1_700_000_000 * 10**9 + 7),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * 10**9),
        ("2023-11-14T22:13", 1_699_999_980 * 10**9),
        ("2023-11-14", 1_699_920_000 * 10**9),
    ],
)
def test_moments(text: str, at_ns: int) -> None:
    assert parse_moment(text, NOW) == at_ns


@pytest.mark.parametrize("text", ["", " "])
def test_nothing_is_no_moment(text: str) -> None:
    with pytest.raises(Malformed):
        parse_moment(text, NOW)


@pytest.mark.parametrize("text", ["yesterday", "2023-13-01", "1h-", "-5m", "1700000000.1234567890", "5 m"])
def test_nonsense_is_refused_by_name(text: str) -> None:
    with pytest.raises(Malformed, match="failed to parse value as time or duration"):
        parse_moment(text, NOW)


@given(st.integers(min_value=1, max_value=4_000_000_000 * 10**9))
def test_rendering_and_parsing_are_each_others_inverse(at_ns: int) -> None:
    assert parse_moment(render_moment(at_ns), 0) == at_ns


def test_never_is_the_zero_time() -> None:
    assert render_moment(0) == "0001-01-01T00:00:00Z"
