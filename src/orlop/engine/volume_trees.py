"""Walking a volume because somebody waits for it: `orlop volume du`.

The walk runs in a thread of its own, so that storage that stops answering costs the caller a deadline and not for ever.
That thread then keeps its use of the volume until the storage lets go of it.
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from orlop.engine.tree_usage import TreeUsage, TreeWalk
from orlop.engine.volume_access import VolumeAccess
from orlop.errors import HostFailure, Malformed, NotFound, Unavailable
from orlop.kernel.openat2 import open_beneath

SILENCE_SECONDS = 30.0
_TELL_SECONDS = 0.5

Told = Callable[[TreeUsage], bool]  # given what was counted so far; says whether to go on


class VolumeTrees:
    def __init__(self, access: VolumeAccess, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._access = access
        self._silence_seconds = silence_seconds

    def measure(
        self, name: str, path: str, depth: int, told: Told = lambda so_far: True
    ) -> tuple[list[TreeUsage], int]:
        """The path's whole first, then what is below it down to `depth` levels, the biggest first; and how many rows
        were too many. Raises NoSuchVolume, NotFound for a path that is not there, Malformed for one that leads out."""
        walk = _Walk(self._access, name, path, depth)
        threading.Thread(target=walk.run, name="du", daemon=True).start()
        seen, seen_at = -1, time.monotonic()
        while not walk.ended.wait(_TELL_SECONDS):
            so_far = walk.so_far
            if so_far.entries != seen:
                seen, seen_at = so_far.entries, time.monotonic()
            elif time.monotonic() - seen_at > self._silence_seconds:
                walk.is_over = True
                why = f"its storage has not answered for {self._silence_seconds:g} s"
                raise Unavailable(f"measuring volume {name}", why, "Look at what is mounted there")
            if not told(so_far):
                walk.is_over = True
        return walk.result.result()


class _Walk:
    def __init__(self, access: VolumeAccess, name: str, path: str, depth: int) -> None:
        self._access = access
        self._name = name
        self._path = path.strip("/")
        self._depth = depth
        self._walk: TreeWalk | None = None
        self.is_over = False
        self.ended = threading.Event()
        self.result: Future[tuple[list[TreeUsage], int]] = Future()

    @property
    def so_far(self) -> TreeUsage:
        return self._walk.so_far if self._walk else TreeUsage("")

    def run(self) -> None:
        try:
            self.result.set_result(self._measure())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            self.result.set_exception(error)
        finally:
            self.ended.set()

    def _measure(self) -> tuple[list[TreeUsage], int]:
        with self._access.open(self._name, only_looks=True) as opened:
            fd = self._open(opened.fd)
            try:
                if not _is_directory(fd):
                    return [_of_file(fd)], 0
                self._walk = TreeWalk(fd, self._depth, lambda: self.is_over)
                rows = self._walk.run()
            except OSError as error:
                raise HostFailure(f"measuring volume {self._name}", error.strerror or str(error)) from error
            finally:
                os.close(fd)
        return rows or [self._walk.so_far], self._walk.left_out

    def _open(self, top_fd: int) -> int:
        subject = f"path {self._path} of volume {self._name}"
        try:
            try:
                return open_beneath(top_fd, self._path, os.O_RDONLY | os.O_DIRECTORY)
            except NotADirectoryError:
                return open_beneath(top_fd, self._path, os.O_PATH)
        except ValueError as error:
            raise Malformed(subject, str(error)) from error
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise NotFound(subject, "there is no such file or directory") from error
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise Malformed(subject, "it leads out of the volume") from error
            raise HostFailure(subject, error.strerror or str(error)) from error


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _of_file(fd: int) -> TreeUsage:
    found = os.fstat(fd)
    return TreeUsage("", False, found.st_size, found.st_blocks * 512, 0, found.st_mtime_ns)
