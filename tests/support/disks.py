"""Small file systems of their own, to fill up."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted_disk(
    directory: Path, size_bytes: int, fs_type: str = "ext4", features: Sequence[str] = (), words: str = "loop"
) -> Iterator[Path]:
    """A new file system of that size in a file, mounted by a loop device; gone afterwards. `features`: arguments of
    mkfs."""
    image, target = directory / "disk.img", directory / "disk"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    usual = ("-m", "0") if fs_type == "ext4" else ()
    subprocess.run([f"mkfs.{fs_type}", "-q", *usual, *features, image], check=True)
    target.mkdir()
    subprocess.run(["mount", "-o", words, image, target], check=True)
    try:
        yield target
    finally:
        deadline = time.monotonic() + 10
        while subprocess.run(["umount", target], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline:
                subprocess.run(["umount", "-l", target], check=False)
                raise AssertionError(f"{target} is still in use: something of the test was not cleaned up")
            time.sleep(0.1)
        image.unlink()
