"""Whatever was written and however it was cut into lines, parts and reads: it comes back whole and in order."""

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.engine import logs as module
from orlop.engine.logs import Logs, LogStream

TEXT = st.binary(max_size=12).map(lambda text: text.replace(b"\n", b""))
# (stream, text without newline, the line ends here); a part of a line is never empty
PIECES = st.lists(
    st.tuples(st.sampled_from([1, 2]), TEXT, st.booleans()).filter(lambda piece: piece[1] or piece[2]), max_size=40
)
STREAMS = {1: b"stdout", 2: b"stderr"}
Piece = tuple[int, bytes, bool]


def as_written(pieces: list[Piece]) -> bytes:
    lines = []
    for number, (stream, text, ends) in enumerate(pieces):
        time = b"2026-11-23T05:%02d:%02d.%09d+00:00" % (number // 60, number % 60, number)
        lines.append(b"%s %s %s %s\n" % (time, STREAMS[stream], b"F" if ends else b"P", text))
    return b"".join(lines)


def as_said(pieces: list[Piece], stream: int) -> bytes:
    """What the program wrote to one of its streams."""
    return b"".join(text + (b"\n" if ends else b"") for which, text, ends in pieces if which == stream)


def opened(path: Path, **options: object) -> LogStream:
    return Logs(lambda reference: (path, lambda: False)).open("app", **options)  # type: ignore[arg-type]


def read_all(stream: LogStream, bulk: bool) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    try:
        while part := (stream.read_output() if bulk else stream.read(3)):
            for each in part:
                found[each.stream] += each.data
    finally:
        stream.close()
    return found


@settings(deadline=None)
@given(pieces=PIECES, bulk=st.booleans(), block=st.integers(60, 400))
def test_all_that_was_written_is_read(pieces: list[Piece], bulk: bool, block: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        path.write_bytes(as_written(pieces))
        before, module._BLOCK = module._BLOCK, block
        try:
            found = read_all(opened(path), bulk)
        finally:
            module._BLOCK = before
    assert found == {stream: as_said(pieces, stream) for stream in (1, 2)}


@settings(deadline=None)
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 4000), max_size=6), bulk=st.booleans())
def test_a_log_that_grows_by_bits_is_read_the_same(pieces: list[Piece], cuts: list[int], bulk: bool) -> None:
    written = as_written(pieces)
    found = {1: b"", 2: b""}
    running = True
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        stream = Logs(lambda reference: (path, lambda: running)).open("app")
        try:
            position = 0
            for end in [*sorted(min(cut, len(written)) for cut in cuts), len(written)]:
                with path.open("ab") as file:
                    file.write(written[position:end])
                position = end
                running = end < len(written)
                while part := (stream.read_output() if bulk else stream.read()):
                    for each in part:
                        found[each.stream] += each.data
        finally:
            stream.close()
    assert found == {number: as_said(pieces, number) for number in (1, 2)}


@settings(deadline=None)
@given(pieces=PIECES, wanted=st.integers(0, 12), block=st.integers(50, 300))
def test_the_tail_is_the_end_of_the_whole(pieces: list[Piece], wanted: int, block: int) -> None:
    pieces = [(1, text, ends) for _, text, ends in pieces]  # lines of one stream, so that "the last" is one thing
    lines = re.findall(rb"[^\n]*\n|[^\n]+", as_said(pieces, 1))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        path.write_bytes(as_written(pieces))
        before, module._TAIL_BLOCK = module._TAIL_BLOCK, block
        try:
            found = read_all(opened(path, tail=wanted), True)
        finally:
            module._TAIL_BLOCK = before
    assert found[1] == b"".join(lines[max(len(lines) - wanted, 0) :])
