"""From a LUN to a block device of this host, and back, by the kernel's iSCSI initiator (`via=kernel`).

    <run>/sessions/<id>/      0700, of open_iscsi; and
      session.json            which leash and which epoch of the write access it is for; whether it is whole: a login
                              that was cut off, or whose reservation was not taken yet, is begun anew

The session and what is mounted on its device outlive the daemon, and every program of ours. So nothing of ours that is
killed cuts it off: where several hosts may write in turn, the storage itself keeps the ones before from writing
(san_fence), and a device that cannot is not reached this way.
"""

import errno
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from orlop.drivers.volumes.leash_ties import Tie
from orlop.drivers.volumes.open_iscsi import (
    OpenIscsi,
    disk_of,
    encoded_lun,
    host_of,
    interface_name,
    wait_for_disk,
)
from orlop.drivers.volumes.san_chain import Growth, known_size
from orlop.drivers.volumes.san_fence import give_fence, take_fence
from orlop.drivers.volumes.san_options import IscsiDevice, SanOptions
from orlop.drivers.volumes.san_work import work_within
from orlop.errors import OrlopError, Unavailable
from orlop.model.value import dataclass
from orlop.store.files import remove_tree, write_durably

log = logging.getLogger(__name__)

_RECORD = "session.json"
_DISK_SECONDS = 10.0
_SCAN_SECONDS = 30.0
_FREE_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_CHECK = "Check the number of the LUN, and what the storage allows this host"


@dataclass(frozen=True, slots=True)
class _Record:
    lun: int = 0
    leash: str = ""
    epoch: int = 0
    fenced: bool = False
    ready: bool = True  # from its reservation on, until it is given back


class SanSession:
    """A `Chain` (san_ways)."""

    def __init__(self, run: Path, san_id: str, tie: Tie | None = None) -> None:
        self._place = run / "sessions" / san_id
        self._tie = tie
        self._initiator = OpenIscsi(run, self._place, interface_name(san_id))

    def _record(self) -> _Record:
        try:
            return _Record(**json.loads((self._place / _RECORD).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return _Record()

    def _write(self, record: _Record) -> None:
        write_durably(self._place / _RECORD, json.dumps(asdict(record)).encode())

    @property
    def _disk(self) -> str:
        return disk_of(self._initiator.session, self._record().lun)

    @property
    def is_reached(self) -> bool:
        return self._initiator.session is not None

    @property
    def is_alive(self) -> bool:
        record = self._record()
        if not record.ready:
            return False
        if self._tie is not None and str(self._tie.leash) != record.leash:
            return False
        disk = disk_of(self._initiator.session, record.lun)
        with suppress(OSError):
            return bool(disk) and Path(f"/sys/block/{disk}/device/state").read_text().strip() != "offline"
        return False

    @property
    def health_path(self) -> str:
        return f"/dev/{self._disk}"

    @property
    def why_dead(self) -> str:
        return "the kernel's session with its device ended"

    @property
    def passes_discards(self) -> bool:
        with suppress(OSError):
            return int(Path(f"/sys/block/{self._disk}/queue/discard_max_bytes").read_text()) > 0
        return False

    def start(self, subject: str, options: SanOptions) -> None:
        """Raises Unavailable where the device cannot be reached, HostFailure where it is refused, Unsupported where it
        cannot be fenced and has to be."""
        assert isinstance(options.device, IscsiDevice)
        self.clear()
        leash, epoch = (str(self._tie.leash), self._tie.epoch) if self._tie else ("", 0)
        is_fenced = bool(epoch) and not options.read_only
        record = _Record(options.device.lun, leash, epoch, is_fenced, ready=False)
        self._place.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._write(record)
        try:
            self._initiator.login(subject, options.device)
            disk = self._attach(subject, options.device)
            if is_fenced:
                take_fence(subject, str(device_path(disk)), epoch, str(options.device))
            self._write(replace(record, ready=True))
        except BaseException:
            self.clear()
            raise

    def _attach(self, subject: str, device: IscsiDevice) -> str:
        session = self._initiator.session
        if session is None:
            raise Unavailable(subject, f"{device}: its session ended at once", _CHECK)
        work_within(_SCAN_SECONDS, subject, "scan", host=host_of(session), lun=encoded_lun(device.lun))
        disk = wait_for_disk(session, device.lun, _DISK_SECONDS)
        if not disk:
            raise Unavailable(subject, f"{device}: the target shows no such unit", _CHECK)
        return disk

    def device(self, subject: str, read_only: bool) -> AbstractContextManager[tuple[int, str]]:
        return open_disk(self._disk, read_only)

    def growth(self, subject: str) -> Growth | None:
        disk = self._disk
        known = known_size(disk)
        work_within(_SCAN_SECONDS, subject, "rescan", disk=disk)
        now = known_size(disk)
        return Growth(f"/dev/{disk}", now) if now > known else None

    def end(self) -> bool:
        disk, subject = self._disk, f"letting go of {self._place.name}"
        if disk and not is_free(disk):
            return False
        record = self._record()
        if disk:
            self._write(replace(record, ready=False))
        if disk and record.fenced:
            try:
                give_fence(subject, f"/dev/{disk}", record.epoch)
            except (OrlopError, OSError) as error:
                log.warning("%s: the next host takes it: %s", subject, error)
        try:
            self._initiator.logout(subject)
        except OrlopError as error:
            raise Unavailable(subject, error.why, "It is tried again") from error
        remove_tree(self._place)
        return True

    def clear(self) -> None:
        """At once, whatever is above it: that gets errors from here on."""
        self._switch_off()
        try:
            self._initiator.logout(f"ending the session of {self._place.name}")
        except OrlopError as error:
            log.error("%s", error)
            return  # its place stays, and it is known by that
        remove_tree(self._place)

    def tend(self) -> None:
        """A connection that was cut comes back only where an iscsid sees to it."""
        self._initiator.tend(f"the session of {self._place.name}")

    def kill(self) -> None:
        self._switch_off()
        with suppress(OrlopError):
            self._initiator.logout(f"ending the session of {self._place.name}")

    def cut(self) -> None:
        self._switch_off()
        self._initiator.logout(f"ending the session of {self._place.name}")

    def _switch_off(self) -> None:
        """The kernel sends nothing more to it."""
        with suppress(OSError):
            if disk := self._disk:
                Path(f"/sys/block/{disk}/device/state").write_text("offline")


@contextmanager
def open_disk(disk: str, read_only: bool) -> Iterator[tuple[int, str]]:
    """The kernel's block device, open, and its path."""
    path = device_path(disk)
    fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        yield fd, str(path)
    finally:
        os.close(fd)


def device_path(disk: str) -> Path:
    """In /dev. One that is not the kernel's own (in a container) gets no node for a device that was just made."""
    path = Path("/dev") / disk
    major, minor = (Path("/sys/block") / disk / "dev").read_text().split(":")
    wanted = os.makedev(int(major), int(minor))
    with suppress(FileNotFoundError):
        found = path.stat()
        if stat.S_ISBLK(found.st_mode) and found.st_rdev == wanted:
            return path
        path.unlink()
    os.mknod(path, stat.S_IFBLK | 0o600, wanted)
    return path


def is_free(disk: str) -> bool:
    """Whether nobody has it mounted, in any mount namespace."""
    deadline = time.monotonic() + _FREE_SECONDS
    while True:
        try:
            os.close(os.open(f"/dev/{disk}", os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.EBUSY:
                return True
        else:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
