"""What the superblock of an ext4 says of its size."""

import subprocess
from pathlib import Path

import pytest

from orlop.kernel.ext4 import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, parse_superblock


def superblock(image: Path) -> bytes:
    with image.open("rb") as file:
        file.seek(SUPERBLOCK_OFFSET)
        return file.read(SUPERBLOCK_BYTES)


@pytest.mark.parametrize("size_bytes", [16 << 20, 8 << 40])
def test_it_is_read_without_the_parts_that_the_file_system_itself_takes(tmp_path: Path, size_bytes: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    arguments = ["-q", "-F", "-b", "4096", "-N", "2000", "-J", "size=4", "-E", "nodiscard,lazy_itable_init=1"]
    subprocess.run(["/sbin/mkfs.ext4", *arguments, image], check=True, capture_output=True)
    found = parse_superblock(superblock(image))
    assert size_bytes * 0.9 - (6 << 20) < found.bytes < size_bytes
    assert found.used_bytes <= 64 << 10, "lost+found and the top directory"
    assert found.used_inodes == 1 and found.inodes >= 1990


@pytest.mark.parametrize("raw", [b"", b"\x00" * 1024, b"\xff" * 1024])
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no ext4 superblock"):
        parse_superblock(raw)
