"""Who may write to a device that several could reach: one at a time.

A file system on a block device bears one kernel that has it mounted. Two destroy it, silently. So whoever mounts one
has a lease on it before anything is written, and gives it back when nothing can be written any more. Where several
hosts reach the same devices, a lease that they share takes this place; on one host it is a file.

    <root>/<digest of the device>     who has it: the id and name of a volume
"""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from orlop.errors import Conflict
from orlop.model.value import dataclass
from orlop.store.files import write_durably


@dataclass(frozen=True, slots=True)
class Holder:
    id: str
    name: str  # for people


class DeviceLeases(Protocol):
    def acquire(self, subject: str, device: str, holder: Holder) -> None:
        """Has it already is success. Raises Conflict naming who has it, Unavailable where that cannot be found out."""

    def release(self, holder: Holder) -> None:
        """Everything that it has; nothing is success."""


class HostLeases:
    """Among the volumes of this host. A lease whose holder's program has ended is void: nothing writes by it."""

    def __init__(self, root: Path, is_writing: Callable[[str], bool]) -> None:
        """`is_writing`: whether the holder with that id may still write."""
        self._root = root
        self._is_writing = is_writing
        self._lock = threading.Lock()

    def acquire(self, subject: str, device: str, holder: Holder) -> None:
        path = self._root / hashlib.sha256(device.encode()).hexdigest()
        with self._lock:
            found = _read(path)
            if found is not None and found.id != holder.id and self._is_writing(found.id):
                why = f"{device} is in use by the volume {found.name}"
                raise Conflict(subject, why, "A device has one writer at a time: use that volume, or stop who uses it")
            self._root.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_durably(path, json.dumps({"id": holder.id, "name": holder.name}).encode())

    def release(self, holder: Holder) -> None:
        with self._lock:
            for path in self._root.iterdir() if self._root.exists() else ():
                found = _read(path)
                if found is not None and found.id == holder.id:
                    path.unlink(missing_ok=True)


def _read(path: Path) -> Holder | None:
    try:
        found = json.loads(path.read_text())
        return Holder(str(found["id"]), str(found["name"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
