"""Reading logs: what the supervisor wrote comes back as the program wrote it."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.engine.logs import LogRecord, Logs, LogStream
from orlop.kernel import inotify
from orlop.kernel.polling import readable
from support.leaks import descriptors

SECOND = 1_000_000_000
EPOCH = 1_475_712_000  # 2016-10-06T00:00:00Z


def line(second: int, text: str, stream: str = "stdout", flag: str = "F") -> bytes:
    return f"2016-10-06T00:{second // 60:02d}:{second % 60:02d}.000000007+00:00 {stream} {flag} {text}\n".encode()


class Box:
    """A log file and a container that may be running."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.running = False
        self.opened: list[LogStream] = []

    def write(self, *lines: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(lines))

    def open(self, **options: object) -> LogStream:
        logs = Logs(lambda reference: (self.path, lambda: self.running))
        stream = logs.open("app", **options)  # type: ignore[arg-type]
        self.opened.append(stream)
        return stream

    def read_all(self, **options: object) -> list[LogRecord]:
        stream, records = self.open(**options), []
        while found := stream.read(3):
            records += found
        return records

    def text(self, **options: object) -> bytes:
        return b"".join(record.data for record in self.read_all(**options))

    def output(self, timestamps: bool = False, **options: object) -> list[tuple[int, bytes]]:
        stream, outputs = self.open(**options), []
        while found := stream.read_output(timestamps):
            outputs += [(output.stream, output.data) for output in found]
        return outputs


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "log")
    yield box
    for stream in box.opened:
        stream.close()


def waits(stream: LogStream) -> bool:
    return not readable([stream.fileno()], 0)


def test_a_line_comes_back_with_its_time_and_stream(box: Box) -> None:
    box.write(line(7, "out"), line(61, "err", "stderr"))
    assert box.read_all() == [
        LogRecord((EPOCH + 7) * SECOND + 7, 1, b"out\n"),
        LogRecord((EPOCH + 61) * SECOND + 7, 2, b"err\n"),
    ]


def test_parts_of_a_line_are_joined_with_the_time_of_the_first(box: Box) -> None:
    box.write(line(1, "a", flag="P"), line(2, "other", "stderr"), line(3, "b", flag="P"), line(4, "c"))
    assert box.read_all() == [
        LogRecord((EPOCH + 2) * SECOND + 7, 2, b"other\n"),
        LogRecord((EPOCH + 1) * SECOND + 7, 1, b"abc\n"),
    ]


def test_a_line_that_was_never_ended_has_no_newline(box: Box) -> None:
    box.write(line(1, "prompt> ", flag="P"))
    assert box.text() == b"prompt> "


def test_a_container_that_never_started_has_an_empty_log(box: Box) -> None:
    assert box.read_all() == []
    assert box.output() == []


def test_only_the_wanted_stream_is_read(box: Box) -> None:
    box.write(line(1, "out"), line(2, "err", "stderr"))
    assert box.text(stderr=False) == b"out\n"
    assert box.text(stdout=False) == b"err\n"
    assert box.text(stdout=False, stderr=False) == b""


def test_since_and_until_are_inclusive(box: Box) -> None:
    box.write(*[line(second, str(second)) for second in range(10)])
    at = [(EPOCH + second) * SECOND + 7 for second in range(10)]
    assert box.text(since_ns=at[7]) == b"7\n8\n9\n"
    assert box.text(until_ns=at[1]) == b"0\n1\n"
    assert box.text(since_ns=at[3] + 1, until_ns=at[5] - 1) == b"4\n"


@pytest.mark.parametrize("size", [1, 100, 40_000])
@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 19, 20, 21])
def test_tail_gives_the_last_lines_whatever_their_length(box: Box, size: int, wanted: int) -> None:
    texts = [f"{number}{'x' * size}" for number in range(20)]
    box.write(*[line(number, text) for number, text in enumerate(texts)])
    expected = texts[len(texts) - wanted :] if wanted < 20 else texts
    assert box.text(tail=wanted) == "".join(text + "\n" for text in expected).encode()


def test_tail_counts_whole_lines_not_their_parts(box: Box) -> None:
    box.write(line(1, "first"), line(2, "a", flag="P"), line(3, "b"), line(4, "c", flag="P"), line(5, "d", flag="P"))
    assert box.text(tail=1) == b"cd"
    assert box.text(tail=2) == b"ab\ncd"
    assert box.text(tail=3) == b"first\nab\ncd"


def test_tail_counts_the_lines_of_the_wanted_stream(box: Box) -> None:
    box.write(line(1, "one"), line(2, "two"), *[line(3, "noise", "stderr")] * 5)
    assert box.text(stderr=False, tail=1) == b"two\n"


def test_bulk_output_is_what_the_program_wrote(box: Box) -> None:
    box.write(line(1, "a"), line(2, "b", flag="P"), line(3, "c"), line(4, "e", "stderr"), line(5, "f"))
    assert box.output() == [(1, b"a\nbc\n"), (2, b"e\n"), (1, b"f\n")]


def test_bulk_output_of_one_stream_is_one_piece(box: Box) -> None:
    box.write(line(1, "a"), line(2, ""), line(3, "b"))
    assert box.output() == [(1, b"a\n\nb\n")]


def test_a_time_stands_before_each_line_and_never_within(box: Box) -> None:
    box.write(line(1, "a", flag="P"), line(2, "e", "stderr"), line(3, "b"), line(4, "c"))
    time = b"2016-10-06T00:00:0%d.000000007Z "
    assert box.output(timestamps=True) == [
        (1, time % 1 + b"a"),
        (2, time % 2 + b"e\n"),
        (1, b"b\n" + time % 4 + b"c\n"),
    ]


def test_following_wakes_when_something_is_written(box: Box) -> None:
    box.running = True
    box.write(line(1, "a"))
    stream = box.open()
    assert [record.data for record in stream.read()] == [b"a\n"]
    assert not stream.read()
    assert waits(stream)
    with box.path.open("ab") as writer:
        writer.write(line(2, "b"))
        writer.flush()
        assert not waits(stream)
        assert [record.data for record in stream.read()] == [b"b\n"]
        assert not stream.read()
        assert not stream.is_complete


def test_following_ends_when_the_supervisor_closes_the_log(box: Box) -> None:
    box.running = True
    writer = box.path.open("ab")
    stream = box.open()
    assert not stream.read()
    assert not stream.is_complete
    writer.write(line(1, "last"))
    writer.close()
    assert not waits(stream)
    assert [record.data for record in stream.read()] == [b"last\n"]
    assert not stream.read()
    assert stream.is_complete


def test_following_ends_with_the_container(box: Box) -> None:
    box.running = True
    box.write(line(1, "a"))
    stream = box.open()
    assert stream.read()
    assert not stream.is_complete
    box.running = False
    assert not stream.read()
    assert stream.is_complete


def test_following_ends_after_until(box: Box) -> None:
    box.running = True
    box.write(line(1, "a"), line(9, "b"))
    stream = box.open(until_ns=(EPOCH + 5) * SECOND)
    assert [record.data for record in stream.read()] == [b"a\n"]
    assert stream.is_complete


def test_half_a_line_waits_for_its_other_half(box: Box) -> None:
    box.running = True
    whole = line(1, "whole")
    box.write(whole[:20])
    stream = box.open()
    assert not stream.read()
    box.write(whole[20:])
    assert [record.data for record in stream.read()] == [b"whole\n"]


def test_a_log_that_appears_later_is_followed(box: Box) -> None:
    box.running = True
    stream = box.open()
    assert not stream.read()
    box.write(line(1, "a"))
    assert not waits(stream)
    assert [record.data for record in stream.read()] == [b"a\n"]


def test_a_log_that_begins_anew_is_followed(box: Box) -> None:
    box.running = True
    box.write(line(1, "old"))
    stream = box.open()
    assert [record.data for record in stream.read()] == [b"old\n"]
    fresh = box.path.with_suffix(".tmp")
    fresh.write_bytes(line(2, "new"))
    fresh.rename(box.path)
    assert not waits(stream)
    assert [record.data for record in stream.read()] == [b"new\n"]


def test_a_program_that_never_ends_its_line_is_read_in_pieces(box: Box) -> None:
    part = "x" * 8000
    box.write(*[line(1, part, flag="P")] * 300)
    records = box.read_all()
    assert len(records) > 1
    assert sum(len(record.data) for record in records) == 300 * 8000


def test_lines_that_are_no_log_lines_are_passed_over(box: Box) -> None:
    box.write(b"\n", b"nonsense\n", line(1, "a"), b"2016-10-06T00:00:00.000000007+00:00 stdlog F x\n")
    box.write(b"?" * 35 + b" stdout F no time\n", bytes(4096))
    assert box.text() == b"a\n"
    assert box.text(tail=5) == b"a\n"


def test_closing_gives_the_descriptors_back(box: Box) -> None:
    box.write(line(1, "a"))
    before = descriptors()
    close: Callable[[], None] = box.open().close
    close()
    close()
    assert descriptors() <= before


def test_a_user_without_any_inotify_left_still_follows(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> int:
        raise OSError(errno.EMFILE, "inotify_init1: Too many open files")

    monkeypatch.setattr(inotify, "open_inotify", none_left)
    box.running = True
    stream = box.open()
    assert not stream.read()
    box.write(line(1, "a"))
    assert waits(stream)  # nothing wakes it, so its reader looks again by itself
    assert [record.data for record in stream.read()] == [b"a\n"]


WRITTEN = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stdout", "stdout", "stderr"]),
        st.sampled_from(["F", "F", "F", "P"]),
        st.sampled_from(["", "text", "\r", "x stdout P y", "stdout F", " stderr P ", "\x00ä", "2016 stdout P "]),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(written=WRITTEN, wanted=st.sampled_from([(True, True), (True, False), (False, True)]), only=st.booleans())
def test_bulk_says_what_reading_line_by_line_says(
    box: Box, written: list[tuple[str, str, str]], wanted: tuple[bool, bool], only: bool
) -> None:
    """Whatever the program writes, also words that look like the supervisor's."""
    box.path.write_bytes(b"")
    kept = [each for each in written if each[0] == "stdout" or not only]
    box.write(*(line(1, text, stream, flag) for stream, flag, text in kept))
    by_stream = {
        number: "".join(text + ("\n" if flag == "F" else "") for stream, flag, text in kept if stream == name).encode()
        for number, name in ((1, "stdout"), (2, "stderr"))
    }
    output = box.output(stdout=wanted[0], stderr=wanted[1])
    for number in (1, 2):
        seen = b"".join(data for stream, data in output if stream == number)
        assert seen == (by_stream[number] if wanted[number - 1] else b"")
