"""The volume services on a disk, without a daemon: started, stopped and started again as one would be."""

from pathlib import Path

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.volumes import Volumes
from orlop.store.journal import Journal


class VolumeWorld:
    def __init__(self, root: Path, disk: Path | None = None) -> None:
        self.root = root
        self.disk = disk or root
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.root / "journal.db")
        self.driver = LocalVolumes(self.disk / "volumes")
        self.executor = Executor(self.journal)
        self.events = Events()
        self.volumes = Volumes(self.journal, self.executor, {"local": self.driver}, self.events, self.root / "subpaths")
        self.executor.recover()
        self.volumes.reconcile()

    def stop(self) -> None:
        self.volumes.close()
        self.journal.close()
        self.driver.close()

    def data(self, name: str) -> Path:
        return self.disk / "volumes" / name / "_data"

    def names(self) -> list[str]:
        return [volume.name for volume in self.volumes.list_volumes({})[0]]

    def leftovers(self) -> list[str]:
        """What is staged, and folders that no volume known to the journal has."""
        top = self.disk / "volumes"
        folders = {path.name for path in top.iterdir() if not path.name.startswith(".")}
        return [*(path.name for path in (top / ".staging").iterdir()), *sorted(folders - set(self.names()))]
