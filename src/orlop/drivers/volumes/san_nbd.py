"""From an NBD server's export to a block device of this host, and back, by the kernel's NBD client (`via=kernel`).

    <run>/programs/<id>/    qemu-nbd, which has the connection and gives the kernel one to itself (mount_program)
    <run>/nbd/<id>          which /dev/nbdN

The kernel alone ends a device with errors when its connection is cut; qemu-nbd connects again and asks again what was
not answered, so that whoever waits for storage that is away waits on. It ends the device when it ends itself, however
that comes: so a leash holds this as it does the way without the kernel (san_chain).
"""

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

from orlop.drivers.volumes.mount_program import Command, MountProgram, find_program
from orlop.drivers.volumes.san_chain import CONNECT_SECONDS, END_SECONDS, Growth, explained, known_size
from orlop.drivers.volumes.san_options import NbdDevice, SanOptions
from orlop.drivers.volumes.san_program import nbd_node
from orlop.drivers.volumes.san_session import device_path, is_free, open_disk
from orlop.errors import HostFailure, OrlopError, Unsupported
from orlop.kernel.device_look import run_within
from orlop.kernel.programs import find_system_program
from orlop.store.files import write_durably

_PROGRAM, _PACKAGE = "qemu-nbd", "qemu-utils"
_CONNECTED = "is now connected to"  # it says so with -v, which also keeps it from going to the background
_TAKEN = re.compile(r"(?i)failed to set nbd socket|resource busy")
_NONE_FREE = "every NBD device of this host is taken"


def why_not_here() -> str:
    """Why the kernel's client cannot be had; "" when it can."""
    if find_system_program(_PROGRAM) is None:
        return f"{_PROGRAM} is not installed (package {_PACKAGE})"
    if not Path("/sys/module/nbd").exists():
        modprobe = find_system_program("modprobe")
        if modprobe is None or run_within(20.0, (modprobe, "-q", "nbd")).returncode:
            return "the kernel has no NBD client (modprobe nbd)"
    return "" if _free_disks() else _NONE_FREE


def _free_disks() -> list[str]:
    names = [path.name for path in Path("/sys/block").glob("nbd*") if not (path / "pid").exists()]
    return sorted(names, key=lambda name: (len(name), name))


def nbd_command(options: SanOptions, program: str, disk: str) -> Command:
    assert isinstance(options.device, NbdDevice)
    discard = "unmap" if options.discard else "ignore"
    node = {"driver": "raw", "discard": discard, "file": {**nbd_node(options.device), "discard": discard}}
    only = ("-r",) if options.read_only else ()
    return Command((program, "-v", "-c", f"/dev/{disk}", f"--discard={discard}", *only, f"json:{json.dumps(node)}"))


class SanNbd:
    """A `Chain` (san_ways)."""

    def __init__(self, run: Path, san_id: str, leash: Path | None = None) -> None:
        self.program = MountProgram(run / "programs" / san_id)
        self._record = run / "nbd" / san_id
        self._leash = leash

    @property
    def _disk(self) -> str:
        try:
            return self._record.read_text()
        except FileNotFoundError:
            return ""

    @property
    def is_alive(self) -> bool:
        if self._leash is not None and self.program.leash != self._leash:
            return False
        return bool(self._disk) and self.program.is_alive()

    @property
    def is_reached(self) -> bool:
        return self.program.is_alive()

    @property
    def health_path(self) -> str:
        return f"/dev/{self._disk}"

    @property
    def why_dead(self) -> str:
        return "the program that speaks to its device ended"

    @property
    def passes_discards(self) -> bool:
        return True  # the kernel asks what the server knows

    def start(self, subject: str, options: SanOptions) -> None:
        """Raises Unavailable where the device cannot be reached, HostFailure where it is refused, Unsupported where
        every device of the kernel's is taken."""
        self.clear()
        program = find_program(_PROGRAM, _PACKAGE)
        self._record.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        for disk in _free_disks():
            device_path(disk)
            write_durably(self._record, disk.encode())
            try:
                self.program.start(
                    subject, nbd_command(options, program, disk), self._is_connected, CONNECT_SECONDS, self._leash
                )
            except OrlopError as error:
                self.clear()
                if isinstance(error, HostFailure) and _TAKEN.search(error.why):
                    continue  # somebody was faster
                raise explained(subject, options, error) from error
            return
        raise Unsupported(subject, _NONE_FREE, "Load the module with more of them (nbds_max), or say via=userspace")

    def _is_connected(self) -> bool:
        """That the device is connected is not enough: it may be so to another's program."""
        said = (self.program.place / "log").read_text(errors="replace")
        return _CONNECTED in said and Path(f"/sys/block/{self._disk}/pid").exists() and known_size(self._disk) > 0

    def device(self, subject: str, read_only: bool) -> AbstractContextManager[tuple[int, str]]:
        return open_disk(self._disk, read_only)

    def growth(self, subject: str) -> Growth | None:
        return None  # the server says how large it is when it is connected to

    def end(self) -> bool:
        if self.program.is_alive() and not is_free(self._disk):
            return False
        self.program.end(END_SECONDS)
        self._record.unlink(missing_ok=True)
        return True

    def clear(self) -> None:
        """At once, whatever is above it: that gets errors from here on."""
        self.program.end(0.0)
        self._record.unlink(missing_ok=True)

    def tend(self) -> None:
        return  # it connects again by itself

    def kill(self) -> None:
        self.program.kill()

    def cut(self) -> None:
        self.program.finish()
