"""From a device of the SAN to a block device of this host, and back, without the kernel's initiators (`via=userspace`):
program -> file -> loop device.

    <run>/programs/<id>/    the program (mount_program, san_program)
    <run>/disks/<id>        the file that it shows the device as: a FUSE mount

The program and the mount above it outlive the daemon. The loop device clears itself when the file system on it is
unmounted; so the end is: everything written, unmounted, the loop device gone, the program asked to end. Where the
program died, its file and what is above it answer with errors only, and go at once.
"""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.san_options import SanOptions
from orlop.drivers.volumes.san_program import forget_secrets, refresh_size, san_command
from orlop.errors import HostFailure, OrlopError, Unavailable
from orlop.kernel import mounts
from orlop.kernel.answering import require_answer
from orlop.kernel.loop import backed_by, loop_device
from orlop.model.value import dataclass

CONNECT_SECONDS = 30.0
END_SECONDS = 15.0
_ANSWER_SECONDS = 20.0
_LOOP_SECONDS = 10.0
_LOOK_SECONDS = 0.02
SECTOR = 512

_REFUSED = re.compile(r"(?i)authentication failure|login.{0,40}(failed|refused)")
# A storage system that starts takes connections before it shows all that it has.
_NOT_SHOWN = re.compile(r"(?i)not found|no such|illegal_request|not available")
_NOBODY_THERE = "reconnect_if_loggedin"  # libiscsi's way to say so
_AWAY = re.compile(r"(?i)connection refused|timed? ?out|no route|unreachable|failed to connect|resolve|reset by peer")
_PREFIX = re.compile(r"qemu-storage-daemon: (--blockdev \{.*?\}: )?|qemu-nbd: |Failed to blk_new_open 'json:.*?': ")
_CHECK = "Check the address, and that the storage runs and can be reached from here"
_CHECK_ACCESS = "Check target, lun or export, chap-user and chap-password, and what the storage allows this host"


@dataclass(frozen=True, slots=True)
class Growth:
    """A block device whose storage has more than the kernel, or what is mounted, knows of."""

    device: str
    size_bytes: int
    disk: str = ""  # the file that the device has to be told to look at again


class SanChain:
    """A `Chain` (san_ways)."""

    def __init__(self, run: Path, san_id: str, leash: Path | None = None) -> None:
        """With a `leash` the program lives no longer than that file says, and one on another leash counts as dead."""
        self.program = MountProgram(run / "programs" / san_id)
        self.disk = run / "disks" / san_id
        self._leash = leash

    @property
    def is_alive(self) -> bool:
        if self._leash is not None and self.program.leash != self._leash:
            return False
        return self.program.is_alive() and mounts.is_mount_point(self.disk)

    def start(self, subject: str, options: SanOptions) -> None:
        """Raises Unavailable where the device cannot be reached, HostFailure where it is refused."""
        self.clear()
        self.disk.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.disk.touch(mode=0o600)
        command = san_command(options, self.program.place, self.disk)
        try:
            is_mounted = partial(mounts.is_mount_point, self.disk)
            self.program.start(subject, command, is_mounted, CONNECT_SECONDS, self._leash)
        except OrlopError as error:
            self.clear()
            raise explained(subject, options, error) from error
        forget_secrets(self.program.place)

    @contextmanager
    def device(self, subject: str, read_only: bool) -> Iterator[tuple[int, str]]:
        """The loop device, open, and its path. It stays where it got mounted. Raises TimeoutError."""
        require_answer(str(self.disk), _ANSWER_SECONDS)
        fd = os.open(self.disk, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            # Not directly: see san_program.
            with loop_device(fd, direct=False) as found:
                yield found
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOENT) and not backed_by(str(self.disk)):
                hint = "Is there a /dev/loop-control? If not: modprobe loop; in a container, hand it in"
                raise HostFailure(subject, f"it gets no loop device: {error.strerror}", hint) from error
            raise
        finally:
            os.close(fd)

    @property
    def is_reached(self) -> bool:
        return self.program.is_alive()

    @property
    def health_path(self) -> str:
        return str(self.disk)

    @property
    def why_dead(self) -> str:
        words = self.program.last_words()
        return "the program that speaks to its device ended" + (f"; it said last: {words}" if words else "")

    @property
    def passes_discards(self) -> bool:
        return True  # what it does not do, it refuses

    @property
    def _loop_devices(self) -> list[str]:
        return backed_by(str(self.disk))

    def growth(self, subject: str) -> Growth | None:
        for path in self._loop_devices[:1]:
            known = known_size(Path(path).name)
            now = refresh_size(subject, self.program.place, known)
            return Growth(path, now, str(self.disk)) if now >= known + SECTOR else None
        return None

    def tend(self) -> None:
        return  # it connects again by itself

    def kill(self) -> None:
        self.program.kill()

    def cut(self) -> None:
        self.program.finish()

    def end(self) -> bool:
        """Nobody has it mounted any more. False where somebody does after all, in a mount namespace of their own: then
        it goes on."""
        deadline = time.monotonic() + _LOOP_SECONDS
        while self.program.is_alive() and self._loop_devices:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        self.program.end(END_SECONDS)
        self._clear_disk()
        return True

    def clear(self) -> None:
        """At once, whatever is above it: that gets errors from here on."""
        self.program.end(0.0)
        self._clear_disk()

    def _clear_disk(self) -> None:
        while mounts.is_mount_point(self.disk):
            mounts.unmount(self.disk, mounts.MNT_DETACH)
        with suppress(FileNotFoundError):
            self.disk.unlink()


def known_size(disk: str) -> int:
    """Of a block device, in bytes, as the kernel knows it."""
    return int(Path(f"/sys/block/{disk}/size").read_text()) * SECTOR


def explained(subject: str, options: SanOptions, error: OrlopError) -> OrlopError:
    """The program's words, and what can be done about them."""
    what = f"{options.device}: {error.why.removeprefix('its program ended: ')}"
    what = re.sub(
        r"qemu-storage-daemon: (--blockdev \{.*?\}: )?|qemu-nbd: |Failed to blk_new_open 'json:.*?': ", "", what
    )
    if isinstance(error, Unavailable):
        return Unavailable(subject, what, _CHECK)
    if _NOBODY_THERE in what:
        return Unavailable(subject, f"{options.device}: nobody takes the connection", _CHECK)
    if _REFUSED.search(what):
        return HostFailure(subject, what, _CHECK_ACCESS)
    if _NOT_SHOWN.search(what):
        return Unavailable(subject, what, _CHECK_ACCESS)
    if _AWAY.search(what):
        return Unavailable(subject, what, _CHECK)
    return HostFailure(subject, what, error.hint or _CHECK_ACCESS)
