"""The small grammars of flags."""

from pathlib import Path

import pytest

from orlop.cli.human import parse_time, render_duration, render_size
from orlop.cli.moments import parse_moment
from orlop.cli.table import render_table
from orlop.cli.words import parse_bytes, parse_pairs, read_pairs_file, resolve_variables
from orlop.client.errors import ClientError


@pytest.mark.parametrize(
    ("text", "value"),
    [("512m", 512 << 20), ("1.5g", 3 << 29), ("4096", 4096), ("64k", 65536), ("1GiB", 1 << 30), ("2MB", 2 << 20),
     ("7b", 7), ("-1", -1), ("0", 0)],
)  # fmt: skip
def test_sizes_are_binary(text: str, value: int) -> None:
    assert parse_bytes(text, "--memory") == value


@pytest.mark.parametrize("text", ["", "m", "12x", "-5m", "nan", "inf", "1 2", "1e400"])
def test_a_size_that_is_none_names_the_flag(text: str) -> None:
    with pytest.raises(ClientError, match="--memory") as caught:
        parse_bytes(text, "--memory")
    assert caught.value.exit_code == 125


def test_pairs_have_empty_values_and_the_last_one_wins() -> None:
    assert parse_pairs(["a=1", "b", "a=2=3"]) == {"a": "2=3", "b": ""}
    with pytest.raises(ClientError):
        parse_pairs(["=x"])


def test_a_variable_without_a_value_takes_this_shells_or_stays_out() -> None:
    assert resolve_variables(["A=1", "B", "C", "D="], {"B": "2"}) == ["A=1", "B=2", "D="]


def test_files_of_variables_skip_comments_and_refuse_names_with_spaces(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("\ufeff# comment\n\n A=1 2\nB\n")
    assert read_pairs_file(str(path), "--env-file") == ["A=1 2", "B"]
    path.write_text("export A=1\n")
    with pytest.raises(ClientError, match="white space"):
        read_pairs_file(str(path), "--env-file")
    path.write_bytes(b"A=\xff\xfe")
    with pytest.raises(ClientError, match="UTF-8"):
        read_pairs_file(str(path), "--env-file")
    with pytest.raises(ClientError, match="No such file"):
        read_pairs_file(str(tmp_path / "none"), "--env-file")


def test_a_table_has_columns_of_ten_and_three_spaces_between() -> None:
    text = render_table(("A", "NAME", "LAST"), [("1", "longer than ten", "x"), ("2", "b", "")])
    assert text == "A         NAME              LAST\n1         longer than ten   x\n2         b\n"
    assert render_table(("A", "B"), []) == "A         B\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_230_000, "1.23MB"), (999_999, "1MB")]
)
def test_sizes_for_people(value: int, text: str) -> None:
    assert render_size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (150, "2 minutes"),
     (3000, "About an hour"), (7300, "2 hours"), (86400, "24 hours"), (3 * 86400, "3 days"), (20 * 86400, "2 weeks"),
     (100 * 86400, "3 months"), (800 * 86400, "2 years")],
)  # fmt: skip
def test_durations_in_dockers_words(seconds: int, text: str) -> None:
    assert render_duration(seconds) == text


def test_times_of_the_api_are_read_and_the_zero_time_is_none() -> None:
    moment = parse_time("2026-01-02T03:04:05.123456789Z")
    assert moment is not None
    assert (moment.year, moment.microsecond) == (2026, 123456)
    assert parse_time("0001-01-01T00:00:00Z") is None
    assert parse_time("never") is None


def test_moments_are_ages_times_or_seconds() -> None:
    assert parse_moment("", "--since") is None
    assert parse_moment("1700000000.5", "--since") == "1700000000.5"
    assert parse_moment("2026-01-02T03:04:05+00:00", "--since") == "1767323045.000000000"
    ages = [float(parse_moment(text, "--since") or 0) for text in ("0s", "90s", "1m30s", "1h")]
    assert abs(ages[0] - ages[1] - 90) < 5
    assert abs(ages[1] - ages[2]) < 5
    assert abs(ages[0] - ages[3] - 3600) < 5
    for text in ("yesterday", "1x", "m"):
        with pytest.raises(ClientError, match="--since"):
            parse_moment(text, "--since")
