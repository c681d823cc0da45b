"""The journal: what it acknowledged is there, whole, after any end."""

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from orlop.errors import HostFailure
from orlop.store.journal import Drop, Journal, Put
from support.daemon import wait_for


@dataclass(frozen=True, slots=True)
class Note:
    text: str


def test_records_are_there_after_opening_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.commit(Put("volumes", "a", Note("1")), Put("volumes", "b", Note("2")))
    journal.commit(Put("volumes", "a", Note("3")), Drop("volumes", "b"))
    journal.close()
    again = Journal(tmp_path / "j.db")
    assert again.load("volumes", Note) == {"a": Note("3")}
    again.close()


def test_records_are_there_without_an_orderly_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.commit(Put("volumes", "a", Note("1")))
    again = Journal(tmp_path / "j.db")
    assert again.load("volumes", Note) == {"a": Note("1")}
    again.close()
    journal.close()


def test_changes_of_one_commit_are_all_in_or_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    too_large = Put("volumes", "b", Note("x" * 20_000))
    with pytest.raises(HostFailure, match=r"journal .*j\.db"):
        journal.commit(Put("volumes", "a", Note("1")), too_large)
    assert journal.load("volumes", Note) == {}
    journal.commit(Put("volumes", "c", Note("2")))
    assert journal.load("volumes", Note) == {"c": Note("2")}
    journal.close()


def test_many_callers_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")

    def write(number: int) -> None:
        for turn in range(20):
            journal.commit(Put("volumes", f"{number}-{turn}", Note(str(turn))))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.load("volumes", Note)) == 320
    journal.close()


def test_a_file_that_is_no_journal_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("hello" * 1000)
    with pytest.raises(HostFailure, match="not a database"):
        Journal(tmp_path / "j.db")


def test_a_record_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    Journal(tmp_path / "j.db").close()
    with sqlite3.connect(tmp_path / "j.db") as database:
        database.execute("INSERT INTO volumes VALUES ('a', '{\"text\": 3}')")
    journal = Journal(tmp_path / "j.db")
    with pytest.raises(HostFailure, match="record of 'volumes' is unreadable"):
        journal.load("volumes", Note)
    journal.close()


def test_a_note_rides_along_with_the_next_commit(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.note(Put("facts", "a", Note("seen")))
    journal.commit(Put("volumes", "b", Note("1")))
    assert journal.load("facts", Note) == {"a": Note("seen")}
    journal.close()


def test_a_note_is_written_by_itself_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.store.journal.NOTES_SECONDS", 0.01)
    journal = Journal(tmp_path / "j.db")
    journal.note(Put("facts", "a", Note("seen")))
    while not journal.load("facts", Note):
        threading.Event().wait(0.002)
    journal.close()


def test_closing_writes_what_was_noted(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.note(Put("facts", "a", Note("seen")))
    journal.close()
    again = Journal(tmp_path / "j.db")
    assert again.load("facts", Note) == {"a": Note("seen")}
    again.close()


def test_the_log_grows_once_the_journal_is_quiet_and_loses_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.commit(Put("volumes", "a", Note("1")))
    wait_for("the log to have its size", lambda: (tmp_path / "j.db-wal").stat().st_size >= 4_000_000)
    journal.commit(Put("volumes", "b", Note("2")))
    again = Journal(tmp_path / "j.db")
    assert again.load("volumes", Note) == {"a": Note("1"), "b": Note("2")}
    again.close()
    journal.close()
    assert (tmp_path / "j.db").stat().st_size < 1_000_000
