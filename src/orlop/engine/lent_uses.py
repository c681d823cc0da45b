"""Who uses volumes that are lent to other engines: which mounts were promised and not yet given back.

    <dir>/<hash of volume and id>   JSON, one file a use

An engine names each mount by an id and may mount the same id again while it is mounted, so mounts are counted by id.
A mount whose caller had gone when the answer was ready is counted too, as doubtful: it ends by itself after a while,
and at the next start.

On the exec root, and with the id of the boot: what was mounted before a reboot is mounted no more.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from orlop.model.lent import LentUse

log = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class _Record(msgspec.Struct):
    boot: str
    use: LentUse


class LentUses:
    """Thread-safe; what belongs together is done under the volume's lock, which the caller holds."""

    def __init__(self, directory: Path, boot: str = "", clock: Callable[[], int] = time.time_ns) -> None:
        self._directory = directory
        self._boot = boot or _BOOT.read_text().strip()
        self._clock = clock
        self._lock = threading.Lock()
        self._changes = 0
        self._uses = self._load()

    @property
    def changes(self) -> int:
        """Another number whenever there is something else to be found."""
        return self._changes

    def find(self, volume: str, use_id: str) -> LentUse | None:
        with self._lock:
            return self._uses.get(_key(volume, use_id))

    def of(self, volume: str) -> list[LentUse]:
        return [use for use in self.all() if use.volume == volume]

    def all(self) -> list[LentUse]:
        with self._lock:
            return list(self._uses.values())

    def add(self, volume: str, use_id: str, device: str = "") -> LentUse:
        """A use that is there keeps its device until it was given another one: some of its mounts are of that."""
        use = self.find(volume, use_id) or LentUse(volume, use_id, 0, device=device)
        return self._put(replace(use, count=use.count + 1, since_ns=self._clock()))

    def place(self, volume: str, use_id: str, device: str) -> None:
        use = self.find(volume, use_id)
        if use is not None:
            self._put(replace(use, device=device))

    def doubt(self, volume: str, use_id: str) -> bool:
        """One mount of it may have no owner. False where it is gone already."""
        use = self.find(volume, use_id)
        if use is None or use.doubtful >= use.count:
            return False
        self._put(replace(use, doubtful=use.doubtful + 1))
        return True

    def take(self, volume: str, use_id: str) -> int:
        """One mount of it less; how many are left. With the last that somebody has, the doubtful ones end as well:
        they were for whoever would ask again, and that is done."""
        use = self.find(volume, use_id)
        if use is None or use.count - 1 <= use.doubtful:
            self.drop(volume, use_id)
            return 0
        return self._put(replace(use, count=use.count - 1)).count

    def take_doubtful(self, volume: str, use_id: str) -> int:
        """The same of one that may have no owner."""
        use = self.find(volume, use_id)
        if use is None or use.count <= 1:
            self.drop(volume, use_id)
            return 0
        return self._put(replace(use, count=use.count - 1, doubtful=max(0, use.doubtful - 1))).count

    def drop(self, volume: str, use_id: str) -> None:
        key = _key(volume, use_id)
        (self._directory / key).unlink(missing_ok=True)
        with self._lock:
            self._uses.pop(key, None)
            self._changes += 1

    def _put(self, use: LentUse) -> LentUse:
        key = _key(use.volume, use.id)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._directory / f".{key}"
        fresh.write_bytes(msgspec.json.encode(_Record(self._boot, use)))
        fresh.replace(self._directory / key)
        with self._lock:
            self._uses[key] = use
            self._changes += 1
        return use

    def _load(self) -> dict[str, LentUse]:
        found: dict[str, LentUse] = {}
        for path in sorted(self._directory.iterdir()) if self._directory.is_dir() else ():
            if path.name.startswith("."):
                path.unlink()  # cut off by a crash: its use is as it was before
                continue
            try:
                record = msgspec.json.decode(path.read_bytes(), type=_Record)
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("what an engine has mounted is not known from %s: %s", path, error)
                continue
            count = record.use.count - record.use.doubtful
            if record.boot != self._boot or count <= 0:
                path.unlink()
                continue
            found[path.name] = replace(record.use, count=count, doubtful=0)
        return found


def _key(volume: str, use_id: str) -> str:
    return hashlib.sha256(f"{volume}\0{use_id}".encode()).hexdigest()
