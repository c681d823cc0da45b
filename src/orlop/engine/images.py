"""Images: import, load, save, tag, remove, and what containers need of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orlop.model.filters import Filters
from orlop.model.image import Image, ImageConfig

Report = Callable[[str], None]  # a line of progress for the client


@dataclass(frozen=True, slots=True)
class LoadedImage:
    id: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageSummary:
    image: Image
    config: ImageConfig
    references: tuple[str, ...]
    containers: int


@dataclass(frozen=True, slots=True)
class HistoryItem:
    id: str  # "<missing>" below the top
    created: str
    created_by: str
    tags: tuple[str, ...]
    size_bytes: int
    comment: str


@dataclass(frozen=True, slots=True)
class ImageRemoval:
    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


class Images:
    """Use cases of images. Thread-safe."""

    def import_archive(
        self, archive: Path, reference: str, changes: Sequence[str], message: str, platform: str, report: Report
    ) -> Image:
        """One root file system's tar as a single-layer image (`docker import`)."""
        raise NotImplementedError

    def load(self, archive: Path, report: Report) -> Sequence[LoadedImage]:
        """`docker load`: docker-archive or OCI archive, plain or compressed; all or nothing."""
        raise NotImplementedError

    def save(self, references: Sequence[str]) -> Iterator[bytes]:
        """`docker save`: an OCI layout that is also readable as a docker-archive. Fails before the first byte when a
        reference is unknown."""
        raise NotImplementedError

    def resolve(self, reference: str) -> Image:
        """By name[:tag], id or unique id prefix. Raises NoSuchImage."""
        raise NotImplementedError

    def config(self, image: Image) -> ImageConfig:
        raise NotImplementedError

    def top_layer(self, image: Image) -> str:
        """The driver's id of the topmost layer, "" for an image without layers."""
        raise NotImplementedError

    def references(self, image_id: str) -> Sequence[str]:
        raise NotImplementedError

    def list_images(self, filters: Filters, all_images: bool) -> Sequence[ImageSummary]:
        raise NotImplementedError

    def history(self, reference: str) -> Sequence[HistoryItem]:
        raise NotImplementedError

    def tag(self, reference: str, repository: str, tag: str) -> None:
        raise NotImplementedError

    def remove(self, reference: str, force: bool, prune_parents: bool) -> ImageRemoval:
        raise NotImplementedError

    def prune(self, filters: Filters) -> tuple[ImageRemoval, int]:
        """What went, and the bytes reclaimed."""
        raise NotImplementedError

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
        raise NotImplementedError
