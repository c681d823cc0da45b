"""`docker load`: everything in an archive is verified and there afterwards, or nothing is.

First the archive's own papers are read and checked (indexes, manifests, configurations: `image_archive` and its two
formats), then the layers that are not there yet are made in one operation, each checked against its diff id, and one
commit brings in layers, images and tags together.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path

from orlop.drivers.layers.driver import AppliedLayer
from orlop.engine.docker_archive import MANIFEST, read_docker_archive
from orlop.engine.image_archive import ArchivedImage, ImageArchive, open_image_archive, plain_archive
from orlop.engine.image_catalogue import Catalogue
from orlop.engine.image_layers import LayerOperations, new_layer_id
from orlop.engine.oci_archive import INDEX, read_oci_archive
from orlop.errors import Malformed, NotFound
from orlop.model.image import Image, Layer, Tag, chain_ids
from orlop.model.platform import Platform, is_any_of
from orlop.model.value import dataclass
from orlop.planning.images import LayerToMake
from orlop.store.journal import Change, Put
from orlop.store.paths import DataRoot


@dataclass(frozen=True, slots=True)
class LoadedImage:
    id: str
    references: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    """What there is to do, read under the locks of everything the archive holds."""

    to_make: list[LayerToMake] = field(default_factory=list)
    chains: list[tuple[str, str]] = field(default_factory=list)  # of each layer to make: chain id, parent's chain id
    sizes: dict[str, int] = field(default_factory=dict)  # of layers that are there, by chain id


class Loading:
    def __init__(
        self,
        catalogue: Catalogue,
        operations: LayerOperations,
        data_root: DataRoot,
        announce: Callable[[str, Image, str], None],
    ) -> None:
        self._catalogue = catalogue
        self._operations = operations
        self._data_root = data_root
        self._announce = announce

    def load(
        self, archive: Path, report: Callable[[str], None], platforms: Sequence[Platform] = ()
    ) -> Sequence[LoadedImage]:
        scratch = self._data_root.incoming / f"load-{secrets.token_hex(8)}.tar"
        with plain_archive(archive, scratch) as plain:
            with open_image_archive(plain) as opened:
                images = _of_platforms(_each_once(_read_images(opened)), platforms)
            chains = {chain for image in images for chain in chain_ids(image.file.diff_ids)}
            tags = {reference: image.id for image in images for reference in image.references}
            with self._catalogue.changing([image.id for image in images], chains, tags):
                renamed = self._tags_that_move(tags)
                made = self._make(images, tags, [archive, plain])
        for reference, old_id in renamed:
            report(f"The image {reference} already exists, renaming the old one with ID {old_id} to empty string")
        for image in made:
            self._announce("load", image, image.id)
        return [LoadedImage(image.id, image.references) for image in images]

    def _make(self, images: Sequence[ArchivedImage], tags: dict[str, str], archives: Sequence[Path]) -> Sequence[Image]:
        found = self._look(images)
        made: list[Image] = []

        def outcome(applied: Sequence[AppliedLayer]) -> Sequence[Change]:
            changes: list[Change] = []
            for layer, (chain, below), new in zip(found.to_make, found.chains, applied, strict=True):
                record = Layer(chain, new.diff_id, below, layer.layer_id, new.size_bytes, new.tar_bytes)
                changes.append(Put("layers", chain, record))
                found.sizes[chain] = new.size_bytes
            for image in images:
                made.append(self._image(image, found.sizes))
                changes.append(Put("images", image.id, made[-1]))
            changes += [Put("tags", reference, Tag(reference, image_id)) for reference, image_id in tags.items()]
            return changes

        subject = next(iter(tags), images[0].id if images else "nothing")
        self._operations.make("image.load", subject, found.to_make, outcome, list(dict.fromkeys(archives)))
        return made

    def _look(self, images: Sequence[ArchivedImage]) -> _Found:
        found = _Found()
        layer_ids: dict[str, str] = {"": ""}
        for image in images:
            below = ""
            chains = chain_ids(image.file.diff_ids)
            for position, (chain, diff_id, source) in enumerate(
                zip(chains, image.file.diff_ids, image.layers, strict=True), start=1
            ):
                known = self._catalogue.layer(chain)
                if known:
                    layer_ids[chain], found.sizes[chain] = known.id, known.size_bytes
                elif chain not in layer_ids:
                    layer_ids[chain] = new_layer_id()
                    place = (str(source.path), source.offset, source.length)
                    found.to_make.append(
                        LayerToMake(layer_ids[chain], layer_ids[below], *place, position, diff_id=diff_id)
                    )
                    found.chains.append((chain, below))
                below = chain
        return found

    def _image(self, image: ArchivedImage, sizes: dict[str, int]) -> Image:
        file = image.file
        known = self._catalogue.get(image.id)
        return Image(
            id=image.id,
            raw_config=image.raw_config,
            diff_ids=file.diff_ids,
            size_bytes=sum(sizes[chain] for chain in chain_ids(file.diff_ids)),
            created=file.created,
            loaded_at_ns=known.loaded_at_ns if known else time.time_ns(),
            parent=known.parent if known else "",
            comment=file.comment,
        )

    def _tags_that_move(self, tags: dict[str, str]) -> list[tuple[str, str]]:
        """Tags that point elsewhere so far, where that image would be left without any name."""
        moves: list[tuple[str, str]] = []
        for reference, image_id in tags.items():
            old = self._catalogue.tag(reference)
            if old and old.image_id != image_id and len(self._catalogue.references(old.image_id)) == 1:
                moves.append((reference, old.image_id))
        return moves


def _read_images(archive: ImageArchive) -> Sequence[ArchivedImage]:
    if archive.has(MANIFEST):
        return read_docker_archive(archive)
    if archive.has(INDEX):
        return read_oci_archive(archive)
    raise Malformed(
        "invalid archive",
        f"does not contain a {MANIFEST}",
        f"Nor an {INDEX}: it is no image archive. A root file system's tar is brought in by import",
    )


def _of_platforms(images: Sequence[ArchivedImage], platforms: Sequence[Platform]) -> Sequence[ArchivedImage]:
    made_for = [Platform(image.file.os, image.file.architecture, image.file.variant) for image in images]
    fitting = [image for image, platform in zip(images, made_for, strict=True) if is_any_of(platform, platforms)]
    if images and not fitting:
        wanted, found = (", ".join(sorted(set(map(str, some)))) for some in (platforms, made_for))
        raise NotFound("", f"requested platform {wanted} not found in the archive", f"What it has is for {found}")
    return fitting


def _each_once(images: Sequence[ArchivedImage]) -> Sequence[ArchivedImage]:
    """An image that stands in the archive under several names is one image with these names."""
    merged: dict[str, ArchivedImage] = {}
    for image in images:
        earlier = merged.get(image.id, image)
        merged[image.id] = replace(image, references=tuple(sorted({*earlier.references, *image.references})))
    return list(merged.values())
