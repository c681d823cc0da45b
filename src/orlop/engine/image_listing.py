"""What can be asked about images: the listing with its filters, and the history of one."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from orlop.engine.image_catalogue import Catalogue
from orlop.errors import Malformed
from orlop.model.filters import Filters, matches_labels, parse_bool, require_known
from orlop.model.image import Image, ImageConfig
from orlop.model.moments import parse_moment
from orlop.model.reference import matches_pattern, parse_reference
from orlop.model.timestamp import parse_timestamp
from orlop.model.value import dataclass

LIST_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
MISSING = "<missing>"

ContainersUsing = Callable[[str], Sequence[tuple[str, bool]]]  # image id -> (container id, is it running)


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


def created_ns(image: Image) -> int:
    """0 where the image does not say, or not in a way that can be read."""
    try:
        return parse_timestamp(image.created) if image.created else 0
    except Malformed:
        return 0


def single_flag(filters: Filters, name: str) -> bool | None:
    """A filter that is true or false; None when it is not given."""
    values = {parse_bool(value, name) for value in filters.get(name, ())}
    if len(values) > 1:
        raise Malformed("", f"invalid filter '{name}'", "Give it once")
    return values.pop() if values else None


class Listing:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def list_images(self, filters: Filters, all_images: bool, using: ContainersUsing) -> Sequence[ImageSummary]:
        require_known(filters, LIST_FILTERS)
        dangling = single_flag(filters, "dangling")
        patterns = filters.get("reference", ())
        images = self._in_time(filters)
        references = self._catalogue.references_by_image()
        parents = {image.parent for image in images}
        found: list[ImageSummary] = []
        for image in images:
            every = references.get(image.id, [])
            names = tuple(name for name in every if _matches_any(name, patterns))
            is_intermediate = not every and image.id in parents
            if (patterns and not names) or (dangling is True and every) or (dangling is False and not every):
                continue
            if is_intermediate and not all_images:
                continue
            config = self._catalogue.config_file(image).config
            if matches_labels(config.labels, filters.get("label", ())):
                found.append(ImageSummary(image, config, names, len(using(image.id))))
        return sorted(found, key=lambda item: (created_ns(item.image), item.image.loaded_at_ns), reverse=True)

    def shared_bytes(self) -> dict[str, int]:
        """By image id: the bytes of those of its layers that another image runs through too."""
        chains = {image.id: image.chain_ids for image in self._catalogue.images()}
        users = Counter(chain for stack in chains.values() for chain in stack)
        sizes = {layer.chain_id: layer.size_bytes for layer in self._catalogue.layers()}
        return {
            image_id: sum(sizes.get(chain, 0) for chain in stack if users[chain] > 1)
            for image_id, stack in chains.items()
        }

    def history(self, image: Image) -> Sequence[HistoryItem]:
        """Topmost first. An image that says less of its history than it has layers shows the rest as bare layers."""
        sizes = [layer.size_bytes if layer else 0 for layer in map(self._catalogue.layer, image.chain_ids)]
        items: list[HistoryItem] = []
        for entry in self._catalogue.config_file(image).history:
            size = 0 if entry.empty_layer or not sizes else sizes.pop(0)
            items.append(HistoryItem(MISSING, entry.created, entry.created_by, (), size, entry.comment))
        items += [HistoryItem(MISSING, image.created, "", (), size, "") for size in sizes]
        if items:
            top = items.pop()
            tags = self._catalogue.references(image.id)
            items.append(HistoryItem(image.id, top.created, top.created_by, tags, top.size_bytes, top.comment))
        return items[::-1]

    def _in_time(self, filters: Filters) -> Sequence[Image]:
        images = self._catalogue.images()
        for name in filters.get("before", ()):
            limit = created_ns(self._catalogue.find(name))
            images = [image for image in images if created_ns(image) < limit]
        for name in filters.get("since", ()):
            limit = created_ns(self._catalogue.find(name))
            images = [image for image in images if created_ns(image) > limit]
        for text in filters.get("until", ()):
            limit = parse_moment(text, time.time_ns())
            images = [image for image in images if created_ns(image) < limit]
        return images


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(matches_pattern(pattern, parse_reference(name)) for pattern in patterns)
