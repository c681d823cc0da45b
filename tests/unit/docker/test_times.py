"""Times as clients write them and expect them."""

import time

import pytest

from orlop.docker.wire.times import parse_duration, parse_timestamp, render_seconds, render_time
from orlop.errors import Malformed

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("", 0),
        ("0", 0),
        ("1700000000", 1_700_000_000 * SECOND),
        ("1700000000.5", 1_700_000_000 * SECOND + SECOND // 2),
        ("1700000000.000000001", 1_700_000_000 * SECOND + 1),
        ("1700000000.1234567891", 1_700_000_000 * SECOND + 123_456_789),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * SECOND),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * SECOND),
        ("2023-11-14T22:13:20.5Z", 1_700_000_000 * SECOND + SECOND // 2),
    ],
)
def test_moments_are_read(text: str, at_ns: int) -> None:
    assert parse_timestamp(text) == at_ns


def test_a_duration_means_so_long_ago() -> None:
    before = time.time_ns()
    assert before - 90 * SECOND <= parse_timestamp("1m30s") <= time.time_ns() - 90 * SECOND


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("10s", 10 * SECOND), ("1h", 3600 * SECOND), ("1.5s", 3 * SECOND // 2), ("1h2m3s4ms", 3723 * SECOND + 4_000_000)],
)
def test_durations_are_read(text: str, wanted: int) -> None:
    assert parse_duration(text) == wanted


@pytest.mark.parametrize("text", ["yesterday", "-", "1x", "1h2", "2023-13-01T00:00:00Z", "²", "1.2.3", "--1"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_timestamp(text)


@pytest.mark.parametrize(("text", "year"), [("9" * 400, 9999), ("-5", 1970), ("1900-01-01T00:00:00Z", 1970)])
def test_what_is_out_of_all_reason_is_brought_into_it(text: str, year: int) -> None:
    assert time.gmtime(parse_timestamp(text) // SECOND).tm_year == year


def test_never_is_the_year_one() -> None:
    assert render_time(0) == render_seconds(0) == "0001-01-01T00:00:00Z"


def test_only_the_decimals_that_count_are_written() -> None:
    assert render_time(1_700_000_000 * SECOND) == "2023-11-14T22:13:20Z"
    assert render_time(1_700_000_000 * SECOND + 120_000_000) == "2023-11-14T22:13:20.12Z"
