"""Storage of somebody else's, mounted here, that can hang, fail and come back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orlop.kernel.mounts import MNT_DETACH, mount, unmount
from support.daemon import read_until


class Storage:
    """`place` is where it is mounted, `behind` the directory that holds its bytes."""

    def __init__(self, place: Path, behind: Path, server: "subprocess.Popen[bytes]") -> None:
        self.place = place
        self.behind = behind
        self._server = server

    def hang(self, after: int = 0) -> None:
        """Requests are taken and never answered, some time `after` so many more of them: nothing wakes who waits, not
        even SIGKILL."""
        self._tell(f"hang-after {after}" if after else "hang")

    def fail(self) -> None:
        """Every request ends with EIO."""
        self._tell("fail")

    def heal(self) -> None:
        """All goes on, also for those who waited."""
        self._tell("answer")

    def _tell(self, word: str) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{word}\n".encode())
        self._server.stdin.flush()
        read_until(self._server.stdout, f"{word}\n".encode())


@contextmanager
def mounted_storage(directory: Path) -> Iterator[Storage]:
    place, behind = directory / "storage", directory / "behind"
    place.mkdir()
    behind.mkdir()
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        mount("storage", place, "fuse", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other")
        command = [sys.executable, str(Path(__file__).with_name("fuse_server.py")), str(fuse), str(behind)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fuse])
    finally:
        os.close(fuse)
    with server:
        try:
            yield Storage(place, behind, server)
        finally:
            unmount(place, MNT_DETACH)
            server.kill()  # everybody who still sleeps wakes with an error
