"""The images of one data root, without a daemon: as the engine puts them together, on a driver of the test's choice."""

import os
from collections.abc import Callable
from pathlib import Path

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.images import Images
from orlop.engine.layer_cleanup import LayerCleanup
from orlop.model.event import Event
from orlop.store.journal import KINDS, Journal
from orlop.store.paths import DataRoot


class ImageStore:
    def __init__(self, path: Path, new_driver: Callable[[Path], LayerDriver]) -> None:
        self.data_root = DataRoot(path)
        for directory in (self.data_root.own, self.data_root.recipes, self.data_root.incoming):
            directory.mkdir(parents=True, exist_ok=True)
        self._new_driver = new_driver
        self.users: dict[str, list[tuple[str, bool]]] = {}
        self.reported: list[str] = []
        self.heard: list[Event] = []
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.data_root.journal)
        self.driver = self._new_driver(self.data_root.path / "layers")
        self.executor = Executor(self.journal)
        self.events = Events()
        self.events.subscribe(self.heard.append)
        self.images = Images(
            self.journal, self.executor, self.driver, self.data_root, self.events, LayerCleanup(self.driver)
        )
        self.images.containers_using = lambda image_id: self.users.get(image_id, ())

    def close(self) -> None:
        self.images.wait_for_cleanup()
        self.journal.close()

    def restart(self) -> None:
        self.close()
        self.open()
        self.executor.recover()
        self.images.reconcile(())
        self.images.wait_for_cleanup()

    def load(self, archive: Path) -> list[tuple[str, tuple[str, ...]]]:
        return [(image.id, image.references) for image in self.images.load(archive, self.reported.append)]

    def save(self, *references: str) -> bytes:
        return b"".join(self.images.save(references))

    @property
    def actions(self) -> list[tuple[str, str]]:
        return [(event.action, event.attributes["name"]) for event in self.heard]

    def state(self) -> object:
        """Everything there is: the files of the data root and the records of the journal."""
        self.images.wait_for_cleanup()
        root = self.data_root.path
        files = sorted(
            (str(path.relative_to(root)), path.lstat().st_mode, "" if path.is_dir() else path.lstat().st_size)
            for path in root.rglob("*")
            if not path.name.startswith("journal.db") and not (path.name == ".trash" and not os.listdir(path))
        )
        records = {kind: sorted(self.journal.load(kind, dict).items()) for kind in KINDS}
        return files, records
