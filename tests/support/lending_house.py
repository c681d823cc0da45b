"""A driver lent to others without a process of its own, whose storage can be made slow or deaf."""

import threading
from pathlib import Path

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.lending import Lending
from orlop.engine.lent_uses import LentUses
from orlop.engine.volumes import Volumes
from orlop.errors import Unavailable
from orlop.store.journal import Journal


class GatedVolumes(LocalVolumes):
    """Directories; those of `slow` are attached once `gate` is open, those of `deaf` are not let go of."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.slow: set[str] = set()
        self.deaf: set[str] = set()
        self.attached: set[tuple[str, str]] = set()
        self.asked = threading.Semaphore(0)  # once for each attach that has begun

    def attach(self, name: str, use_id: str) -> Path:
        self.asked.release()
        if name in self.slow:
            assert self.gate.wait(20)
        path = super().attach(name, use_id)
        self.attached.add((name, use_id))
        return path

    def detach(self, name: str, use_id: str) -> None:
        if name in self.deaf:
            raise Unavailable(f"volume {name}", "its storage does not answer")
        super().detach(name, use_id)
        self.attached.discard((name, use_id))

    def users(self, name: str) -> int:
        return sum(volume == name for volume, _ in self.attached)


class LendingHouse:
    """`restart` is a new process on the same disk; `boot` is another one after a reboot."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boot = "1"
        self.now = 1_700_000_000_000_000_000
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.root / "journal.db")
        executor = Executor(self.journal)
        self.driver = GatedVolumes(self.root / "volumes")
        drivers = {"local": self.driver}
        self.volumes = Volumes(self.journal, executor, drivers, Events(), self.root / "subpaths")
        executor.recover()
        self.volumes.reconcile()
        self.uses = LentUses(self.root / "uses", self.boot, lambda: self.now)
        self.lending = Lending(self.volumes, self.driver, self.uses, lambda: self.now)
        self.lending.start()

    def stop(self) -> None:
        self.lending.close()
        self.volumes.close()
        self.journal.close()
        self.driver.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def count(self, name: str, use_id: str) -> int:
        use = self.uses.find(name, use_id)
        return use.count if use else 0
