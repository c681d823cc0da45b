"""Every packing is undone and hashed; a cut or damaged one is refused, wherever the cut is."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from orlop.archive.compression import Compression, decompress, detect, open_plain
from orlop.errors import Malformed

PLAIN = random.Random(1).randbytes(300_000) + bytes(2_000_000)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_stream(data: bytes) -> bytes:
    """Frames that do not say how long they are, as pipes make them."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


PACKERS: list[tuple[Compression, Callable[[bytes], bytes]]] = [
    (Compression.NONE, lambda data: data),
    (Compression.GZIP, gzip.compress),
    (Compression.BZIP2, bz2.compress),
    (Compression.XZ, lzma.compress),
    (Compression.ZSTD, zstd),
    (Compression.ZSTD, zstd_stream),
]
packings = pytest.mark.parametrize(("kind", "pack"), PACKERS)
real_packings = pytest.mark.parametrize(("kind", "pack"), PACKERS[1:])


@packings
def test_plain_bytes_and_their_digest_come_out(
    tmp_path: Path, kind: Compression, pack: Callable[[bytes], bytes]
) -> None:
    source = tmp_path / "packed"
    source.write_bytes(pack(PLAIN))
    seen: list[int] = []
    digest = decompress(source, tmp_path / "plain", seen.append)
    assert detect(source) is kind
    assert digest == "sha256:" + hashlib.sha256(PLAIN).hexdigest()
    assert (tmp_path / "plain").read_bytes() == PLAIN
    assert seen[-1] == source.stat().st_size
    with open_plain(source) as stream:
        assert stream.read() == PLAIN


@real_packings
def test_members_in_a_row_are_one_stream(tmp_path: Path, kind: Compression, pack: Callable[[bytes], bytes]) -> None:
    source = tmp_path / "packed"
    source.write_bytes(b"".join(pack(b"%d," % index * 50) for index in range(500)))
    decompress(source, tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == b"".join(b"%d," % index * 50 for index in range(500))


@real_packings
def test_a_cut_anywhere_is_refused(tmp_path: Path, kind: Compression, pack: Callable[[bytes], bytes]) -> None:
    source = tmp_path / "packed"
    whole = pack(b"first" * 1000) + pack(PLAIN)
    second = len(pack(b"first" * 1000))
    for length in (second + 12, second + 1000, len(whole) - 100, len(whole) - 5, len(whole) - 1):
        source.write_bytes(whole[:length])
        with pytest.raises(Malformed, match=r"cut off|damaged"):
            decompress(source, tmp_path / "plain")


@pytest.mark.parametrize(("kind", "pack"), PACKERS[1:5])  # without a checksum zstd cannot know
def test_damage_is_refused(tmp_path: Path, kind: Compression, pack: Callable[[bytes], bytes]) -> None:
    source = tmp_path / "packed"
    whole = bytearray(pack(PLAIN))
    whole[len(whole) // 2] ^= 0x55
    source.write_bytes(whole)
    with pytest.raises(Malformed):
        decompress(source, tmp_path / "plain")


@real_packings
def test_junk_behind_the_end_is_refused(tmp_path: Path, kind: Compression, pack: Callable[[bytes], bytes]) -> None:
    source = tmp_path / "packed"
    source.write_bytes(pack(b"x" * 100) + b"junk and more junk and more")
    with pytest.raises(Malformed):
        decompress(source, tmp_path / "plain")


def test_zeros_behind_gzip_are_padding(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(b"x") + bytes(200_000))
    decompress(tmp_path / "packed", tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == b"x"


def test_a_zstd_bomb_comes_out_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(zstd(bytes(200 << 20)))
    with open_plain(tmp_path / "packed") as stream:
        assert len(stream.read(10)) == 10


def test_a_tar_whose_first_name_looks_packed_is_plain(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("BZhello"))
    (tmp_path / "t").write_bytes(made.getvalue())
    assert detect(tmp_path / "t") is Compression.NONE


def test_an_empty_file_is_plain_and_empty(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"")
    assert decompress(tmp_path / "t", tmp_path / "plain") == "sha256:" + hashlib.sha256(b"").hexdigest()


def test_packed_bytes_that_add_up_like_a_header_are_still_packed(tmp_path: Path) -> None:
    """Taken as signed numbers the first 512 bytes of this file add up to its empty checksum field, 0."""
    packed = gzip.compress(b"x", mtime=0x54D13645) + bytes(1000)
    (tmp_path / "packed").write_bytes(packed)
    assert sum(byte - 256 * (byte >= 0x80) for byte in packed[:512]) + 8 * 0x20 == 0
    assert detect(tmp_path / "packed") is Compression.GZIP
