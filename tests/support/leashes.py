"""Files that say until when a program may live, as whoever has write access keeps them up to date."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_leash(path: Path, seconds: float) -> Path:
    """From now on. At once: half a leash is none."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(str(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)))
    new.replace(path)
    return path


@contextmanager
def lengthened(path: Path, seconds: float) -> Iterator[Path]:
    """Again and again, as long as this lasts: however long a busy machine needs to start what hangs on it."""
    is_over = threading.Event()

    def lengthen() -> None:
        while not is_over.wait(seconds / 10):
            write_leash(path, seconds)

    lengthening = threading.Thread(target=lengthen)
    write_leash(path, seconds)
    lengthening.start()
    try:
        yield path
    finally:
        is_over.set()
        lengthening.join()
