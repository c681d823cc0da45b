"""A tar that arrives through a pipe is read as one in a file is, whatever it holds and however its pieces come; but it
must say where it ends."""

import bz2
import gzip
import lzma
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.archive import zstd_frames
from orlop.archive.header import render_comment
from orlop.archive.reader import TarReader
from orlop.archive.stream import TarStream, read_comment
from orlop.errors import Malformed
from orlop.testing.archives import directory, file, hard_link, make_tar, symlink

PACKERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress]
TAR = make_tar(
    directory("dir"), file("dir/one", b"1" * 1000), file("two", b"2" * 70_000), symlink("link", "x" * 200),
    hard_link("three", "two"), file("long" * 60, b""), file("last", b"3"),
)  # fmt: skip


@contextmanager
def arriving(data: bytes, piece: int = 4096) -> Iterator[int]:
    read_end, write_end = os.pipe()

    def fill() -> None:
        try:
            for start in range(0, len(data), piece):
                os.write(write_end, data[start : start + piece])
        except BrokenPipeError:
            pass
        finally:
            os.close(write_end)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield read_end
    finally:
        os.close(read_end)
        thread.join()


def read_stream(data: bytes, target: Path, piece: int = 4096, after_comment: bool = False) -> list[tuple[object, ...]]:
    """Each member with its data, which every other one is not asked for."""
    found: list[tuple[object, ...]] = []
    with arriving(data, piece) as fd:
        start = read_comment(fd)[1] if after_comment else b""
        with TarStream(fd, start) as archive:
            for number, member in enumerate(archive):
                out = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                if number % 2:
                    archive.copy_into(out, member.data_offset, member.stored_bytes)
                found.append((member, os.pread(out, 1 << 20, 0)))
                os.close(out)
            assert archive.count == len(found)
    return found


def read_file(data: bytes, path: Path) -> list[tuple[object, ...]]:
    path.write_bytes(data)
    with TarReader(path) as archive:
        return [
            (member, bytes(archive.data(member)) if number % 2 else b"") for number, member in enumerate(archive)
        ]  # fmt: skip


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 100_000])
def test_it_is_read_as_in_a_file_however_its_pieces_come(tmp_path: Path, piece: int) -> None:
    assert read_stream(TAR, tmp_path / "out", piece) == read_file(TAR, tmp_path / "tar")


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("after_comment", [False, True])
def test_it_may_be_packed(tmp_path: Path, pack: Callable[[bytes], bytes], after_comment: bool) -> None:
    found = read_stream(pack(TAR), tmp_path / "out", after_comment=after_comment)
    assert found == read_file(TAR, tmp_path / "tar")


@pytest.mark.parametrize("pack", PACKERS)
def test_a_cut_is_seen_wherever_it_is(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    whole = pack(TAR)
    end = len(whole) if pack is not bytes else len(TAR.rstrip(b"\0")) - 1  # of a plain one: within its last member
    for cut in [cut for cut in (*range(0, end, max(1, end // 60)), 512, 1024, 2048, end - 1) if cut < end]:
        with pytest.raises(Malformed):
            read_stream(whole[:cut], tmp_path / "out", 10_000)


def test_a_cut_between_members_is_seen(tmp_path: Path) -> None:
    first = make_tar(file("one", b"x"))[:1024]
    with pytest.raises(Malformed, match="nothing there says that it ends"):
        read_stream(first, tmp_path / "out")
    assert len(read_file(first, tmp_path / "tar")) == 1, "in a file it is let pass, as by Docker"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(TAR) - 1), byte=st.integers(0, 255), piece=st.sampled_from([300, 10_000]))
def test_a_damaged_one_is_judged_as_in_a_file(tmp_path: Path, position: int, byte: int, piece: int) -> None:
    damaged = TAR[:position] + bytes([byte]) + TAR[position + 1 :]

    def judged(read: Callable[[], list[tuple[object, ...]]]) -> object:
        try:
            return read()
        except Malformed:
            return "refused"

    in_file = judged(lambda: read_file(damaged, tmp_path / "tar"))
    in_stream = judged(lambda: read_stream(damaged, tmp_path / "out", piece))
    assert in_stream in (in_file, "refused")


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("length", [0, 10, 3000, 300_000])
def test_the_comment_is_known_before_the_rest_is_read(pack: Callable[[bytes], bytes], length: int) -> None:
    text = ("wörd " * length)[:length]
    data = pack(render_comment(text) + TAR)
    with arriving(data) as fd:
        comment, start = read_comment(fd)
        assert comment == text
        assert data.startswith(start)
        if pack is bytes and length < 3000:
            assert len(start) <= 8192


def test_an_archive_without_one_has_no_comment() -> None:
    for data in (TAR, b"", b"\x1f\x8b\x08" + bytes(600), bytes(1024)):
        with arriving(data) as fd:
            assert read_comment(fd)[0] == ""
    with pytest.raises(Malformed, match="not a tar"), arriving(b"nonsense" * 100) as fd:
        read_comment(fd)


ZSTD = [
    zstandard.compress(b"x" * 100_000),
    zstandard.compress(b""),
    zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(os.urandom(300_000)),
    zstandard.compress(b"a") + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(b"b" * 1000),
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ZSTD), st.data())
def test_zstd_frames_that_go_by_are_followed_as_those_in_a_file(
    tmp_path: Path, whole: bytes, data: st.DataObject
) -> None:
    packed = whole[: data.draw(st.sampled_from([len(whole), data.draw(st.integers(5, len(whole)))]))]
    packed += data.draw(st.sampled_from([b"", b"", b"rubbish"]))
    (tmp_path / "file").write_bytes(packed)

    def is_whole(look: Callable[[], None]) -> bool:
        try:
            look()
        except Malformed:
            return False
        return True

    def follow() -> None:
        follower = zstd_frames.Follower()
        at = 0
        while at < len(packed):
            size = data.draw(st.integers(1, len(packed)))
            follower.feed(packed[at : at + size])
            at += size
        follower.finish()

    with (tmp_path / "file").open("rb") as opened:
        assert is_whole(follow) == is_whole(lambda: zstd_frames.check_complete(opened))
