"""What the superblock of an XFS says of its size."""

import subprocess
from pathlib import Path

import pytest

from orlop.kernel.xfs import SUPERBLOCK_BYTES, parse_superblock


@pytest.mark.parametrize("size_bytes", [512 << 20, 8 << 40])
def test_it_is_read_without_the_log(tmp_path: Path, size_bytes: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["/sbin/mkfs.xfs", "-q", "-K", image], check=True, capture_output=True)
    with image.open("rb") as file:
        found = parse_superblock(file.read(SUPERBLOCK_BYTES))
    assert size_bytes - (3 << 30) < found.bytes < size_bytes
    assert found.used_bytes <= size_bytes // 100 and found.used_inodes == 0


@pytest.mark.parametrize("raw", [b"", b"XFSB", b"\x00" * 512, b"\xff" * 512])
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no XFS superblock"):
        parse_superblock(raw)
