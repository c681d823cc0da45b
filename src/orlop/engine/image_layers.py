"""The operations of images: how each step of their plans is done and undone, and what they leave in the journal."""

import logging
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from orlop.archive.source import ArchiveSource
from orlop.drivers.layers.driver import AppliedLayer, LayerDriver
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.image_catalogue import Catalogue
from orlop.engine.layer_cleanup import LayerCleanup
from orlop.errors import Malformed
from orlop.model.image import Image, Layer
from orlop.planning.images import LayerToMake, plan_layers, plan_removal
from orlop.planning.plan import Step
from orlop.store.files import remove_tree
from orlop.store.journal import Change, Drop, Journal
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)


class LayerOperations:
    """Thread-safe. Callers hold the catalogue's locks of what they change."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        driver: LayerDriver,
        data_root: DataRoot,
        catalogue: Catalogue,
        cleanup: LayerCleanup,
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._driver = driver
        self._data_root = data_root
        self._catalogue = catalogue
        self._applied_lock = threading.Lock()
        self._applied: dict[str, AppliedLayer] = {}  # by layer id, between the apply step and the outcome
        self.cleanup = cleanup
        making = {
            "layer.create": StepActions(self._create, self._take_back),
            "layer.apply": StepActions(self._apply),
            "upload.discard": StepActions(self._discard_upload),
            "layer.seal": StepActions(self._seal),
        }
        for name in ("image.load", "image.import", "image.commit"):
            executor.register(OperationKind(name, making, after_crash="undo"))
        removing = {"layer.remove": StepActions(self._discard)}
        executor.register(OperationKind("image.remove", removing, after_crash="finish"))

    def make(
        self,
        operation: str,
        subject: str,
        layers: Sequence[LayerToMake],
        outcome: Callable[[Sequence[AppliedLayer]], Sequence[Change]],
        archives: Sequence[Path],
    ) -> None:
        """Make the layers and commit what `outcome` says of them, or leave no trace. Of the `archives` they come from
        those in incoming/ are deleted as soon as they have been read."""
        uploads = [str(path) for path in archives if path.parent == self._data_root.incoming]
        plan = plan_layers(operation, subject, layers, uploads)
        committed: list[Change] = []

        def finish() -> Sequence[Change]:
            committed.extend(outcome([self._take_applied(layer.layer_id) for layer in layers]))
            return committed

        try:
            self._executor.run(plan, finish)
        except BaseException:
            for layer in layers:
                self._take_applied(layer.layer_id)
            raise
        self._catalogue.apply(committed)

    def discard(self, layer_id: str) -> None:
        """Remove a layer that no record speaks of (any more)."""
        self._driver.remove(layer_id)
        (self._data_root.recipes / layer_id).unlink(missing_ok=True)
        self.cleanup.request()

    def remove(self, image: Image, references: Sequence[str], layers: Sequence[Layer]) -> None:
        """Forget the image, its tags and its layers in one commit; then remove the layers from the disk."""
        self.commit(
            Drop("images", image.id),
            *(Drop("tags", reference) for reference in references),
            *(Drop("layers", layer.chain_id) for layer in layers),
        )
        self._executor.sweep(plan_removal(image, layers))
        self.cleanup.request()

    def commit(self, *changes: Change) -> None:
        """Changes that need no work on the disk: into the journal, then into memory."""
        self._journal.commit(*changes)
        self._catalogue.apply(changes)

    def reconcile(self, container_layers: Collection[str]) -> list[str]:
        """Remove what nobody knows: driver's layers, recipes, uploads. Called at start, after recovery."""
        known = {layer.id for layer in self._catalogue.layers()} | set(container_layers)
        reports: list[str] = []
        for layer_id in self._driver.list_layers():
            if layer_id.removesuffix("-init") not in known:
                self._driver.remove(layer_id)
                reports.append(f"removed layer {layer_id}, which no image and no container uses")
        for recipe in _entries(self._data_root.recipes):
            if recipe not in known:
                (self._data_root.recipes / recipe).unlink(missing_ok=True)
        for upload in _entries(self._data_root.incoming):
            remove_tree(self._data_root.incoming / upload)
        self.cleanup.request()
        return reports

    # Steps

    def _create(self, step: Step) -> None:
        self._driver.create(step.subject, step.arguments["parent"])

    def _apply(self, step: Step) -> None:
        wanted = step.arguments["diff_id"]
        try:
            applied = self._driver.apply(step.subject, _source_of(step), self._data_root.recipes / step.subject)
        except Malformed as error:
            raise Malformed(f"layer {wanted}", error.message) if wanted else error from error
        if wanted and applied.diff_id != wanted:
            position = int(step.arguments["position"]) - 1
            raise Malformed(
                "", f'invalid diffID for layer {position}: expected "{wanted}", got "{applied.diff_id}"', ""
            )
        with self._applied_lock:
            self._applied[step.subject] = applied

    def _discard_upload(self, step: Step) -> None:
        Path(step.subject).unlink(missing_ok=True)

    def _seal(self, step: Step) -> None:
        self._driver.seal(step.subject)

    def _take_back(self, step: Step) -> None:
        """With the bytes deleted at once: a full disk must have room again for the journal to close the operation."""
        self._discard(step)
        self.cleanup.request()
        self.cleanup.wait()

    def _discard(self, step: Step) -> None:
        self._driver.remove(step.subject)
        (self._data_root.recipes / step.subject).unlink(missing_ok=True)

    def _take_applied(self, layer_id: str) -> AppliedLayer:
        with self._applied_lock:
            return self._applied.pop(layer_id, AppliedLayer("", 0, 0))


def new_layer_id() -> str:
    return secrets.token_hex(32)


def _entries(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def _source_of(step: Step) -> ArchiveSource:
    arguments = step.arguments
    return ArchiveSource(Path(arguments["path"]), int(arguments["offset"]), int(arguments["length"]))
