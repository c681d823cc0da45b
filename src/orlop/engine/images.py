"""Images: import, load, save, tag, remove, and what containers need of them.

image_catalogue.py  what there is, who is using it
image_layers.py     the operations whose steps the executor does
image_making.py     import and commit
image_load.py       archives of others, read in place: image_archive.py, docker_archive.py, oci_archive.py
image_save.py       an archive for others
image_removal.py    rmi and prune
image_listing.py    listing and history
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.image_catalogue import Catalogue
from orlop.engine.image_layers import LayerOperations
from orlop.engine.image_listing import HistoryItem, ImageSummary, Listing
from orlop.engine.image_load import LoadedImage, Loading
from orlop.engine.image_making import ImageMaking, NewImage, host_platform, image_platform
from orlop.engine.image_removal import ImageRemoval, Removal
from orlop.engine.image_save import Saving
from orlop.engine.layer_cleanup import LayerCleanup
from orlop.errors import NoSuchImage, NotFound, OrlopError, Unsupported
from orlop.model.changes import apply_changes
from orlop.model.filters import Filters
from orlop.model.image import Image, ImageConfig, Tag
from orlop.model.image_config import ConfigFile
from orlop.model.platform import Platform, is_any_of
from orlop.model.reference import parse_reference, parse_tag_target
from orlop.store.journal import Journal, Put
from orlop.store.paths import DataRoot

__all__ = ["HistoryItem", "ImageRemoval", "ImageSummary", "Images", "LoadedImage", "Report"]

log = logging.getLogger(__name__)

Report = Callable[[str], None]  # a line of progress for the client


class Images:
    """Use cases of images. Thread-safe. Made before the executor recovers; `reconcile` is called after that."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        layers: LayerDriver,
        data_root: DataRoot,
        events: Events,
        cleanup: LayerCleanup,
    ) -> None:
        self.containers_using: Callable[[str], Sequence[tuple[str, bool]]] = lambda image_id: ()
        """By image id: each container made from it, and whether it runs. Set by whoever puts the engine together."""
        self._events = events
        self._layers = layers
        self._catalogue = Catalogue(journal)
        self._operations = LayerOperations(journal, executor, layers, data_root, self._catalogue, cleanup)
        self._making = ImageMaking(self._catalogue, self._operations)
        self._loading = Loading(self._catalogue, self._operations, data_root, self._announce)
        self._saving = Saving(self._catalogue, layers, data_root)
        self._listing = Listing(self._catalogue)
        self._removal = Removal(self._catalogue, self._operations, self._announce)

    def import_archive(
        self, archive: Path, reference: str, changes: Sequence[str], message: str, platform: str, report: Report
    ) -> Image:
        """One root file system's tar as a single-layer image (`docker import`); `reference` may be ""."""
        target = _tag_target(reference)
        config = apply_changes(ImageConfig(), changes)
        wish = NewImage(
            "image.import", config, image_platform(platform), message or "Imported from -", reference=target
        )
        image = self._making.make(wish, archive)
        self._announce("import", image, image.id)
        if target:
            self._announce("tag", image, target)
        return image

    def create_from_layer(
        self,
        layer_archive: Path,
        parent: Image | None,
        config: ImageConfig,
        reference: str,
        comment: str,
        author: str,
        created_by: str,
        report: Report,
    ) -> Image:
        """A new image: the parent's layers, one more made from the tar, and a configuration (`docker commit`)."""
        target = _tag_target(reference)
        platform = self._platform_of(parent) if parent else host_platform()
        wish = NewImage("image.commit", config, platform, comment, author, created_by, parent, target)
        image = self._making.make(wish, layer_archive)
        if target:
            self._announce("tag", image, target)
        return image

    def load(self, archive: Path, report: Report, platforms: Sequence[Platform] = ()) -> Sequence[LoadedImage]:
        """`docker load`: docker-archive or OCI archive, plain or compressed; all or nothing. Here as in the two above
        an archive in incoming/ may be gone afterwards: it need not reach the disk only to be deleted. Raises NotFound
        when nothing in it is for the platforms asked for."""
        return self._loading.load(archive, report, platforms)

    def save(self, references: Sequence[str]) -> Iterator[bytes]:
        """`docker save`: an OCI layout that is also readable as a docker-archive. Fails before the first byte when a
        reference is unknown. The images stay until the iterator is exhausted or closed."""
        return self._saving.save(references)

    def resolve(self, reference: str) -> Image:
        """By name[:tag], id or unique id prefix. Raises NoSuchImage, and Malformed for what can be neither."""
        return self._catalogue.find(reference)

    def require_platform(self, reference: str, platforms: Sequence[Platform]) -> None:
        """Raises NotFound when the image is for none of these; each image here is for one platform."""
        image = self.resolve(reference)
        actual = self._platform_of(image)
        if not is_any_of(actual, platforms):
            wanted = ", ".join(map(str, platforms))
            why = f"was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
            raise NotFound("", f"image with reference {reference} {why}")

    def hold(self, image: Image) -> AbstractContextManager[Image]:
        """The image and its layers stay while this is open: for making a container on it. Raises NoSuchImage when it
        went in between."""
        return self._catalogue.hold(image.id)

    def config(self, image: Image) -> ImageConfig:
        return self._catalogue.config_file(image).config

    def config_file(self, image: Image) -> ConfigFile:
        """All that the image says of itself."""
        return self._catalogue.config_file(image)

    def top_layer(self, image: Image) -> str:
        """The driver's id of the topmost layer, "" for an image without layers."""
        return self._catalogue.top_layer(image)

    def open_tree(self, image_id: str) -> int:
        """All its files as a detached mount, read-only; the caller closes it. Raises NoSuchImage."""
        top = self._catalogue.top_layer(self.of_container(image_id))
        if not top:
            raise Unsupported(f"image {image_id}", "has no files that could be mounted")
        return self._layers.open_tree(top)

    def references(self, image_id: str) -> Sequence[str]:
        return self._catalogue.references(image_id)

    def count(self) -> int:
        return len(self._catalogue.images())

    def layers_bytes(self) -> int:
        """Of all layers, each counted once."""
        return sum(layer.size_bytes for layer in self._catalogue.layers())

    def list_images(self, filters: Filters, all_images: bool) -> Sequence[ImageSummary]:
        return self._listing.list_images(filters, all_images, self.containers_using)

    def shared_bytes(self) -> Mapping[str, int]:
        """By image id: the bytes of those of its layers that another image runs through too."""
        return self._listing.shared_bytes()

    def describe(self, image: Image) -> Mapping[str, str]:
        """The driver's facts about the topmost layer (UpperDir, LowerDir, ...); none for an image without layers."""
        top = self._catalogue.top_layer(image)
        return self._layers.describe(top) if top else {}

    def history(self, reference: str) -> Sequence[HistoryItem]:
        return self._listing.history(self.resolve(reference))

    def tag(self, reference: str, repository: str, tag: str) -> None:
        image = self.resolve(reference)
        target = parse_tag_target(repository, tag).familiar
        with self._catalogue.changing(images=[image.id], tags=[target]):
            if self._catalogue.get(image.id) is None:
                raise NoSuchImage(reference)
            self._operations.commit(Put("tags", target, Tag(target, image.id)))
        self._announce("tag", image, target)

    def remove(self, reference: str, force: bool, prune_parents: bool) -> ImageRemoval:
        return self._removal.remove(reference, force, prune_parents, self.containers_using)

    def prune(self, filters: Filters) -> tuple[ImageRemoval, int]:
        """What went, and the bytes reclaimed."""
        removal, reclaimed_bytes = self._removal.prune(filters, self.containers_using)
        self._events.publish("image", "prune", "", {"reclaimed": str(reclaimed_bytes)})
        return removal, reclaimed_bytes

    def of_container(self, image_id: str) -> Image:
        """The image a container was made from, also when it was removed by force under it. Raises NoSuchImage."""
        image = self._catalogue.of_container(image_id)
        if image is None:
            raise NoSuchImage(image_id)
        return image

    def collect(self) -> None:
        """Remove layers that only a container kept that has gone. Called after a container was removed, which this
        must not spoil: what fails is reported, and tried again at the next call."""
        try:
            self._removal.collect(self.containers_using)
        except OrlopError as error:
            log.error("removing layers no container needs any more: %s", error)

    def reconcile(self, container_layers: Collection[str]) -> Sequence[str]:
        """Remove layers, recipes and uploads that neither an image nor a container (whose layers are given) knows.
        Called at start, after recovery and before the API is served. Returns what was done, in words."""
        self.collect()
        return self._operations.reconcile(container_layers)

    def wait_for_cleanup(self) -> None:
        """Until the bytes of removed layers are gone from the disk."""
        self._operations.cleanup.wait()

    def _platform_of(self, image: Image) -> Platform:
        file = self._catalogue.config_file(image)
        return Platform(file.os or "linux", file.architecture or host_platform().architecture, file.variant)

    def _announce(self, action: str, image: Image, name: str) -> None:
        labels = self._catalogue.config_file(image).config.labels
        self._events.publish("image", action, image.id, {**labels, "name": name})


def _tag_target(reference: str) -> str:
    if not reference:
        return ""
    named = parse_reference(reference)
    return parse_tag_target(named.name + (f"@{named.digest}" if named.digest else ""), named.tag).familiar
