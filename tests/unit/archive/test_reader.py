"""The tar reader against tars that Python's tarfile and GNU tar write, and against damage of every kind."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.archive.member import MemberKind, Segment
from orlop.archive.reader import TarReader
from orlop.errors import Malformed


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def names(path: Path) -> list[str]:
    with TarReader(path) as tar:
        return [member.name for member in tar]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_format_come_through(tmp_path: Path, format: int) -> None:
    long = "d" * 90 + "/" + "f" * 95
    path = write_tar(
        tmp_path / "t",
        (info("etc", type=tarfile.DIRTYPE, mode=0o1755, mtime=77), b""),
        (info(long, mode=0o4755, uid=12, gid=34, mtime=1_700_000_000), b"x" * 1000),
        (info("link", type=tarfile.SYMTYPE, linkname="etc"), b""),
        (info("hard", type=tarfile.LNKTYPE, linkname=long[:99]), b""),
        (info("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (info("pipe", type=tarfile.FIFOTYPE), b""),
        format=format,
    )
    with TarReader(path) as tar:
        etc, file, link, hard, null, pipe = tar
        assert bytes(tar.data(file)) == b"x" * 1000
    assert (etc.kind, etc.mode, etc.mtime_ns) == (MemberKind.DIRECTORY, 0o1755, 77 * 10**9)
    assert (file.name, file.mode, file.uid, file.gid, file.size_bytes) == (long, 0o4755, 12, 34, 1000)
    assert (link.kind, link.link_name) == (MemberKind.SYMLINK, "etc")
    assert (hard.kind, hard.link_name) == (MemberKind.HARD_LINK, long[:99])
    assert (null.kind, null.device_major, null.device_minor) == (MemberKind.CHARACTER_DEVICE, 1, 3)
    assert pipe.kind is MemberKind.FIFO


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_big_numbers_come_through(tmp_path: Path, format: int) -> None:
    path = write_tar(
        tmp_path / "t",
        (info("n" * 3000, uid=3_000_000, gid=4_000_000_000, mtime=-5), b"1"),
        (info("s", type=tarfile.SYMTYPE, linkname="l" * 3000), b""),
        format=format,
    )
    with TarReader(path) as tar:
        file, link = tar
    assert (file.name, file.uid, file.gid, file.mtime_ns) == ("n" * 3000, 3_000_000, 4_000_000_000, -5 * 10**9)
    assert link.link_name == "l" * 3000


def test_names_that_are_not_utf8_come_through(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(info("caf\xe9"))
    assert names(path) == ["caf\udce9"]


def test_pax_times_attributes_and_overrides(tmp_path: Path) -> None:
    made = info(
        "a", pax_headers={"mtime": "12.000000345", "SCHILY.xattr.user.k": "v=1\n", "uid": "70000", "comment": "c"}
    )
    path = write_tar(tmp_path / "t", (made, b"data"), (info("b"), b""))
    with TarReader(path) as tar:
        first, second = tar
    assert (first.mtime_ns, first.uid, dict(first.xattrs)) == (12_000_000_345, 70000, {"user.k": b"v=1\n"})
    assert (second.uid, dict(second.xattrs)) == (0, {})


def test_global_headers_give_owners_and_times_only(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with tarfile.open(path, "w", pax_headers={"comment": "x", "uid": "7", "path": "everywhere"}) as tar:
        tar.addfile(info("a"))
    with TarReader(path) as tar:
        (member,) = tar
    assert (member.name, member.uid) == ("a", 7)


@pytest.mark.parametrize(
    "options", [["--format=gnu"], *(["--format=pax", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
def test_sparse_files_of_gnu_tar_come_through(tmp_path: Path, options: list[str]) -> None:
    with (tmp_path / "holes").open("wb") as file:
        for index in range(30):
            file.seek(index << 20)
            file.write(b"%02d" % index * 2048)
        file.truncate(40 << 20)
    subprocess.run(["tar", "cSf", "t", *options, "holes"], cwd=tmp_path, check=True)
    with TarReader(tmp_path / "t") as tar:
        (member,) = tar
        data = bytes(tar.data(member))
    assert (member.name, member.size_bytes) == ("holes", 40 << 20)
    assert member.segments is not None
    assert member.segments[:2] == (Segment(0, 4096), Segment(1 << 20, 4096))
    assert data == b"".join(b"%02d" % index * 2048 for index in range(30))


def test_an_archive_may_end_where_a_member_ends(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t", (info("a"), b"x" * 600), (info("b"), b"y"))
    whole = path.read_bytes()
    path.write_bytes(whole[:1536])
    assert names(path) == ["a"]
    path.write_bytes(b"")
    assert names(path) == []
    path.write_bytes(whole[:2560] + bytes(512))
    assert names(path) == ["a", "b"]


@pytest.mark.parametrize("length", [1, 511, 513, 1024, 1112, 1535, 1537, 2048, 2100])
def test_an_archive_cut_inside_a_member_is_refused(tmp_path: Path, length: int) -> None:
    path = write_tar(tmp_path / "t", (info("a"), b"x" * 600), (info("b"), b"y"))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(Malformed, match="cut off"):
        names(path)


def test_an_extended_header_without_its_member_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t", (info("n" * 200), b""))
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(Malformed, match="cut off at byte 1024"):
        names(path)


def test_what_follows_the_end_is_ignored(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t", (info("a"), b""))
    path.write_bytes(path.read_bytes()[:1536] + b"junk")
    assert names(path) == ["a"]


def test_a_lone_zero_block_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t", (info("a"), b""))
    header = path.read_bytes()[:512]
    path.write_bytes(header + bytes(512) + header + bytes(1024))
    with pytest.raises(Malformed, match="lone block"):
        names(path)


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"#!/bin/sh\n" * 200)
    with pytest.raises(Malformed, match="not a tar archive"):
        names(tmp_path / "t")


def patched(header: bytes, at: int, value: bytes) -> bytes:
    header = header[:at] + value + header[at + len(value) :]
    total = sum(header) - sum(header[148:156]) + 256
    return header[:148] + b"%06o\0 " % total + header[156:]


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (124, b"\xff" * 12, "out of bounds"),
        (124, b"\x80" + b"\xff" * 11, "out of bounds"),
        (124, b"00000000009\0", "not an octal number"),
        (124, b"77777777777\0", "cut off"),
        (100, b"+000644\0", "not an octal number"),
        (108, b"\x80\0\0\0\xff\xff\xff\xff", "not a user or group id"),
        (0, bytes(100), "no name"),
        (156, b"Z", "cannot be unpacked"),
        (156, b"M", "cannot be unpacked"),
    ],
)
def test_impossible_fields_are_refused(tmp_path: Path, at: int, value: bytes, why: str) -> None:
    path = write_tar(tmp_path / "t", (info("a"), b""))
    whole = path.read_bytes()
    path.write_bytes(patched(whole[:512], at, value) + whole[512:])
    with pytest.raises(Malformed, match=why):
        names(path)


@pytest.mark.parametrize(
    "records",
    [b"12 path=ab\n", b"9 path=ab\n", b"-1 a=b\n", b"99999999999999999999999 a=b\n", b"5 a=b", b"4 =b\n", b"x"],
)
def test_broken_extended_headers_are_refused(tmp_path: Path, records: bytes) -> None:
    path = write_tar(tmp_path / "t", (info("x", type=b"x"), records), (info("a"), b""), format=tarfile.USTAR_FORMAT)
    with pytest.raises(Malformed, match="extended header"):
        names(path)


def test_a_sparse_map_that_lies_is_refused(tmp_path: Path) -> None:
    for text in ("0,10,5,10", "0,99", "0,10,20", "90,20", "0,x"):
        headers = {"GNU.sparse.map": text, "GNU.sparse.size": "100"}
        path = write_tar(tmp_path / "t", (info("a", pax_headers=headers), b"x" * 20))
        with pytest.raises(Malformed):
            names(path)


def _sample(tmp: Path) -> bytes:
    made = tmp / "sample"
    write_tar(
        made,
        (info("d" * 150, pax_headers={"SCHILY.xattr.user.x": "1", "mtime": "1.5"}), b"data" * 300),
        (info("b", type=tarfile.SYMTYPE, linkname="l" * 200), b""),
        (info("s", pax_headers={"GNU.sparse.map": "0,4,100,4", "GNU.sparse.size": "200"}), b"x" * 8),
    )
    gnu = write_tar(tmp / "gnu", (info("g" * 150, uid=1 << 25), b"q"), format=tarfile.GNU_FORMAT)
    return made.read_bytes()[:-10240].rstrip(b"\0").ljust(8192, b"\0")[:8192] + gnu.read_bytes()[:3072]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    blob = bytearray(_sample(tmp_path))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(blob) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=12))
        blob[at : at + len(piece)] = piece
    for at in range(0, len(blob) - 511, 512):  # mend the checksums, so that damage is met behind them too
        block = bytes(blob[at : at + 512])
        if block[257:262] == b"ustar":
            blob[at : at + 512] = patched(block, 0, b"")
    (tmp_path / "t").write_bytes(bytes(blob[: data.draw(st.integers(0, len(blob)))]))
    with TarReader(tmp_path / "t") as tar:
        try:
            for member in tar:
                assert member.next_offset <= tar.size_bytes
                assert len(tar.data(member)) == member.stored_bytes
        except Malformed:
            pass
