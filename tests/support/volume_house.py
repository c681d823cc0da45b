"""Volumes as the engine keeps them, without the rest of it: real journal, real executor, real directories."""

from pathlib import Path

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.volumes import Volumes
from orlop.model.event import Event
from orlop.model.mount import Mount, MountKind
from orlop.model.volume import RetirementPolicy
from orlop.store.journal import Journal


class VolumeHouse:
    """As much of a daemon as volumes need; `restart` is a new one on the same disk."""

    def __init__(self, root: Path, policy: RetirementPolicy | None = None) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.policy = policy
        self.now = 1_700_000_000_000_000_000
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.root / "journal.db")
        self.executor = Executor(self.journal)
        self.driver = LocalVolumes(self.root / "volumes")
        self.events = Events()
        self.seen: list[Event] = []
        self.events.subscribe(self.seen.append)
        drivers = {"local": self.driver}
        self.volumes = Volumes(
            self.journal, self.executor, drivers, self.events, self.root / "subpaths", self.policy, lambda: self.now
        )
        self.recovered = self.executor.recover()
        self.reports = self.volumes.reconcile()

    def stop(self) -> None:
        self.volumes.close()
        self.journal.close()
        self.driver.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def data(self, name: str) -> Path:
        return self.root / "volumes" / name / "_data"

    def names(self) -> list[str]:
        return [volume.name for volume in self.volumes.list_volumes({})[0]]

    def actions(self) -> list[str]:
        return [event.action for event in self.seen]


def mount_of(house: VolumeHouse, name: str, destination: str = "/data", subpath: str = "") -> Mount:
    path = str(house.data(name))
    return Mount(MountKind.VOLUME, destination, path, volume=name, driver="local", subpath=subpath)
