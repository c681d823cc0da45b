import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.timestamp import parse_timestamp, render_timestamp


@given(st.integers(min_value=0, max_value=250_000_000_000 * 1_000_000_000))
def test_rendered_time_is_read_back_to_the_nanosecond(at_ns: int) -> None:
    assert parse_timestamp(render_timestamp(at_ns)) == at_ns


def test_fraction_is_written_as_go_does() -> None:
    assert render_timestamp(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert render_timestamp(0) == "1970-01-01T00:00:00Z"


def test_zones_are_counted_in() -> None:
    assert parse_timestamp("1970-01-01T02:00:00+01:00") == 3600 * 1_000_000_000
    assert parse_timestamp("0001-01-01T00:00:00Z") < 0


@pytest.mark.parametrize("text", ["", "now", "1970-13-01T00:00:00Z", "1970-01-01", "1970-01-01T00:00:00+99:99"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_timestamp(text)
