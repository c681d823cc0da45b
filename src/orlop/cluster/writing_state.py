"""What a node keeps of its write access, so that a daemon that comes back knows what it had.

    <data root>/cluster/writing.json    which lease of etcd, since which boot, which volumes with which epoch
    <exec root>/leashes/<id>.<epoch>    until when what reaches that volume's storage may live (CLOCK_BOOTTIME, ns)

The second is read by the keepers (kernel/leash.py) and goes with a reboot, as everything does that it is about.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from orlop.model.value import dataclass
from orlop.store.files import write_durably


@dataclass(frozen=True, slots=True)
class WritingState:
    boot: str = ""
    lease: int = 0
    epochs: Mapping[str, int] = field(default_factory=dict)  # by the volume's id


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_state(path: Path) -> WritingState:
    """What makes no sense is as nothing: then a lease that was there ends by itself."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        found = json.loads(path.read_text())
        epochs = {str(key): int(value) for key, value in found["epochs"].items()}
        return WritingState(str(found["boot"]), int(found["lease"]), epochs)
    return WritingState()


def write_state(path: Path, state: WritingState) -> None:
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_durably(path, json.dumps({"boot": state.boot, "lease": state.lease, "epochs": dict(state.epochs)}).encode())


class Leashes:
    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, volume_id: str, epoch: int) -> Path:
        return self._root / f"{volume_id}.{epoch}"

    def until_ns(self, volume_id: str, epoch: int) -> int:
        """0 when it is not known."""
        try:
            return int(self.path(volume_id, epoch).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def lengthen(self, volume_id: str, epoch: int, until_ns: int) -> None:
        self._root.mkdir(parents=True, mode=0o700, exist_ok=True)
        path = self.path(volume_id, epoch)
        written = path.with_name(f".{path.name}")  # by one thread at a time; need not outlive a power cut
        written.write_text(str(until_ns))
        written.replace(path)

    def remove(self, volume_id: str, epoch: int) -> None:
        """Whoever still hangs on it is killed."""
        self.path(volume_id, epoch).unlink(missing_ok=True)
