"""The mark by which storage elsewhere is known again: what is written by us, and what by strangers."""

from pathlib import Path

import pytest

from orlop.drivers.volumes.storage_mark import (
    Mark,
    new_mark,
    parse_mark,
    parse_names,
    refuse_other,
    remember,
    remembered,
    render_mark,
)
from orlop.errors import Conflict

ID = "0123456789abcdef" * 2


def test_a_mark_is_read_as_it_was_written(tmp_path: Path) -> None:
    mark = new_mark("photos")
    assert parse_names([mark.file]) == [mark.id]
    assert parse_mark(mark.id, render_mark(mark)) == mark
    assert remembered(tmp_path / "identity") is None
    remember(tmp_path / "identity", mark)
    assert remembered(tmp_path / "identity") == mark


def test_only_whole_names_are_marks() -> None:
    names = [
        f".orlop-mark-{ID}",
        f".orlop-mark-{ID}0",
        f"x.orlop-mark-{ID}",
        ".orlop-mark-",
        f".orlop-mark-{ID.upper()}",
    ]
    assert parse_names(names) == [ID]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"volume": 1}', "\x00" * 100])
def test_what_strangers_write_into_it_harms_nobody(text: str) -> None:
    assert parse_mark(ID, text) == Mark(ID)


def test_control_characters_of_strangers_are_not_shown() -> None:
    assert parse_mark(ID, '{"volume": "\\u001b[31mx", "host": "h", "made": "d"}').volume == "[31mx"


def test_both_are_named() -> None:
    known, there = Mark(ID, "photos", "a", "2026-11-23"), Mark("f" * 32)
    with pytest.raises(Conflict) as refused:
        refuse_other("attaching volume photos", "s3 photos", known, there, Path("/x/identity"))
    assert "is the storage marked ffffffffffff" in refused.value.why
    assert "marked 0123456789ab (made for volume photos of host a, 2026-11-23)" in refused.value.why
    assert "/x/identity" in refused.value.hint
