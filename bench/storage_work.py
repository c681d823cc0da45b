"""The program that reads and writes on mounts for the bench: one that can be killed when the storage hangs.

A line of JSON in, a line of JSON out: {"seconds": 1.5} or {"error": "..."}. `Worker` is the side that asks.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEGABYTE = 1 << 20
_SMALL = b"x" * 4096


def write(path: str, megabytes: int) -> float:
    """One after the other, until it is where fsync and close promise it to be."""
    block = os.urandom(MEGABYTE)
    begin = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    for _ in range(megabytes):
        _write_all(fd, block)
    os.fsync(fd)
    os.close(fd)
    return time.perf_counter() - begin


def read(path: str, megabytes: int, forget: Sequence[str]) -> float:
    """From the beginning, one after the other. `forget`: what lies below it on this host, to be out of memory, too."""
    for each in (*forget, path):
        fd = os.open(each, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    begin = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    left = megabytes * MEGABYTE
    while left > 0:
        left -= len(os.read(fd, min(left, MEGABYTE))) or left
    os.close(fd)
    return time.perf_counter() - begin


def small(count: int) -> float:
    """Files of 4 KiB made, looked at and read back."""
    names = [f"small{number}" for number in range(count)]
    begin = time.perf_counter()
    for name in names:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        _write_all(fd, _SMALL)
        os.close(fd)
    for name in names:
        os.stat(name)  # noqa: PTH116 - what is timed is the call
    for name in names:
        fd = os.open(name, os.O_RDONLY)
        os.read(fd, 2 * len(_SMALL))
        os.close(fd)
    took = time.perf_counter() - begin
    for name in names:
        Path(name).unlink()
    return took


def synced(path: str, count: int) -> float:
    """Blocks of 4 KiB over a file, each with its fsync, as a database does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.pwrite(fd, _SMALL * count, 0)
    os.fsync(fd)
    begin = time.perf_counter()
    for number in range(count):
        os.pwrite(fd, _SMALL, number * 4096)
        os.fsync(fd)
    took = time.perf_counter() - begin
    os.close(fd)
    Path(path).unlink()
    return took


def unlink(path: str) -> float:
    Path(path).unlink()
    return 0.0


WORKS = {work.__name__: work for work in (write, read, small, synced, unlink)}


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Worker:
    """Raises TimeoutError when the program has not answered in time, RuntimeError with its own words; either way it is
    killed, and another one is started for the next question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, work: str, place: Path, seconds: float, **arguments: Any) -> float:
        process = self._running()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps({"work": work, "place": str(place), **arguments}).encode() + b"\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], seconds)[0]:
                raise TimeoutError(f"{work} had no end within {seconds:g} s")
            answer = json.loads(process.stdout.readline() or b'{"error": "the program ended"}')
            if "error" in answer:
                raise RuntimeError(f"{work}: {answer['error']}")
            return float(answer["seconds"])
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> set[int]:
        return {self._process.pid} if self._process else set()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            program = [sys.executable, "-m", "bench.storage_work"]
            self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def close(self) -> None:
        """One that hangs in the kernel ends when its mount does; nobody waits for that."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                assert stream
                stream.close()


@contextmanager
def worker() -> Iterator[Worker]:
    made = Worker()
    try:
        yield made
    finally:
        made.close()


def main() -> None:
    for line in sys.stdin:
        wish = json.loads(line)
        try:
            os.chdir(wish.pop("place"))  # so that the way there costs nobody anything
            answer: dict[str, Any] = {"seconds": WORKS[wish.pop("work")](**wish)}
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
