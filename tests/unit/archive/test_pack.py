"""Tars that we write: read back by our reader, Python's tarfile and GNU tar, to the same thing."""

import io
import os
import socket
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.archive.header import END_OF_ARCHIVE, Entry, padding, render_header
from orlop.archive.member import MemberKind, Segment
from orlop.archive.pack import PackOptions, pack_entry, pack_tree
from orlop.archive.reader import TarReader
from orlop.errors import HostFailure
from orlop.store.files import remove_tree
from support.leaks import descriptors

CHARACTERS = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/") | st.just("\udcff")
names = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/") | st.just("\udcff"),
    min_size=1,
    max_size=250,
).filter(lambda name: name.strip(".") != "")


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(names, min_size=1, max_size=4),
    link=names,
    kind=st.sampled_from(list(MemberKind)),
    uid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(2**33), 2**40),
    nanoseconds=st.integers(0, 10**9 - 1),
    exact=st.booleans(),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "user.b", "security.capability"]), st.binary(max_size=80)),
    size=st.integers(0, 2000),
)
def test_headers_are_read_back_as_written(
    parts: list[str], link: str, kind: MemberKind, uid: int, mtime: int, nanoseconds: int, exact: bool,
    xattrs: dict[str, bytes], size: int,
) -> None:  # fmt: skip
    has_link = kind in (MemberKind.SYMLINK, MemberKind.HARD_LINK)
    is_device = kind in (MemberKind.CHARACTER_DEVICE, MemberKind.BLOCK_DEVICE)
    entry = Entry(
        "/".join(parts), kind, 0o4751, uid, uid // 2, size if kind is MemberKind.FILE else 0,
        min(mtime, 2**33) * 10**9 + nanoseconds, link if has_link else "", (7, 300) if is_device else (0, 0), xattrs,
    )  # fmt: skip
    data = b"x" * entry.size_bytes
    path = Path("/dev/shm") / f"orlop-header-{os.getpid()}.tar"
    path.write_bytes(render_header(entry, exact) + data + padding(len(data)) + END_OF_ARCHIVE)
    with TarReader(path) as tar:
        (member,) = tar
        assert bytes(tar.data(member)) == data
    path.unlink()
    slash = "/" if kind is MemberKind.DIRECTORY else ""
    assert (member.name, member.kind, member.link_name) == (entry.name + slash, kind, entry.link_name)
    assert (member.mode, member.uid, member.gid, member.size_bytes) == (0o4751, uid, uid // 2, entry.size_bytes)
    whole = entry.mtime_ns if exact else entry.mtime_ns // 10**9 * 10**9
    assert member.mtime_ns == (whole if abs(whole) // 10**9 < 2**63 // 10**9 else 0)
    assert dict(member.xattrs) == xattrs
    assert (member.device_major, member.device_minor) == entry.device


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "d/sub").mkdir(parents=True)
    (top / "d/file").write_bytes(b"content")
    (top / "d/file").chmod(0o640)
    os.link(top / "d/file", top / "d/sub/hard")
    (top / "d/link").symlink_to("file")
    os.mkfifo(top / "pipe")
    (top / ("long" * 40)).write_bytes(b"1" * 1000)
    (top / "z\udcff").touch()
    with (top / "holes").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(16 << 20)
    return top


def packed(top: Path, prefix: str = "", options: PackOptions | None = None) -> bytes:
    out = io.BytesIO()
    fd = os.open(top, os.O_RDONLY)
    try:
        pack_tree(fd, out, prefix, options)
    finally:
        os.close(fd)
    return out.getvalue()


def listed(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return opened.getnames()


def test_gnu_tar_makes_the_same_tree_of_it(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "x"], cwd=target, input=packed(tree), check=True)
    assert packed(target) == packed(tree)
    assert (target / "d/sub/hard").stat().st_ino == (target / "d/file").stat().st_ino
    assert (target / "holes").stat().st_blocks * 512 < 1 << 20
    assert (target / "holes").read_bytes() == bytes(8 << 20) + b"middle" + bytes((8 << 20) - 6)


def test_python_reads_it_too(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(tree))) as tar:
        found = {member.name: member for member in tar}
        assert found["holes"].size == 16 << 20
        assert found["long" * 40].size == 1000
        assert found["d/sub/hard"].linkname == "d/file"


def test_holes_are_not_written(tree: Path) -> None:
    assert len(packed(tree)) < 100_000


def test_names_begin_with_the_prefix(tree: Path) -> None:
    assert all(name == "as" or name.startswith("as/") for name in listed(packed(tree, "as")))
    assert "as" in listed(packed(tree, "as"))


def test_one_entry_is_packed_under_another_name(tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY)
    try:
        for name, expected in (("d", ["x", "x/file", "x/link", "x/sub", "x/sub/hard"]), ("pipe", ["x"])):
            out = io.BytesIO()
            pack_entry(fd, name, out, "x")
            assert listed(out.getvalue()) == expected
        with pytest.raises(FileNotFoundError):
            pack_entry(fd, "none", io.BytesIO(), "x")
    finally:
        os.close(fd)


def test_only_some_paths_and_whiteouts_for_others(tree: Path) -> None:
    options = PackOptions(only=frozenset({"d", "d/sub/hard"}), deleted=("d/was", "top"))
    assert listed(packed(tree, options=options)) == ["d", "d/sub/hard", "d/.wh.was", ".wh.top"]


def test_a_file_that_shrinks_meanwhile_ends_in_zeros(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "shrinking").write_bytes(b"x" * 3000)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: real(fd, min(count, 10), at) if at < 10 else b"")
    with tarfile.open(fileobj=io.BytesIO(packed(tree))) as tar:
        content = tar.extractfile("shrinking")
        assert content is not None
        assert content.read() == b"x" * 10 + bytes(2990)


def test_a_tree_too_deep_is_refused_not_followed_to_exhaustion(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(1005):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = descriptors()
    try:
        with pytest.raises(HostFailure, match="within each other"):
            packed(top)
        assert descriptors() <= before
    finally:
        remove_tree(top)  # too deep for pytest's own cleaning up


def test_sockets_are_left_out(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tree / "sock"))
        assert "sock" not in listed(packed(tree))


def test_sparse_map_ends_with_the_file() -> None:
    entry = Entry("s", MemberKind.FILE, size_bytes=5000, segments=[Segment(1000, 10)])
    header = render_header(entry)
    assert b"2\n1000\n10\n5000\n0\n" in header
    assert stat.S_IMODE(entry.mode) == 0o644
