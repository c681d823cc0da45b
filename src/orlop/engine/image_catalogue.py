"""What images, layers and tags there are: the journal's records in memory, and who is using which just now.

What is in use is derived, never counted: a layer stays as long as one image's chain runs through it. Two things keep
it true while several threads work:

- whoever changes an image, a tag or a layer holds the locks of their names (`changing`), from the decision until the
  change is in memory;
- whoever needs an image to stay (a container being made on it, a save) has a hold on it (`hold`), and a removal waits
  a moment for the holders and then gives up.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from orlop.engine.keyed_locks import KeyedLocks
from orlop.errors import Conflict, NoSuchImage
from orlop.model.image import Image, Layer, Tag
from orlop.model.image_config import ConfigFile, parse_config_file
from orlop.model.reference import is_image_id, parse_id_prefix, parse_reference
from orlop.store.journal import Change, Drop, Journal, Put

HOLD_SECONDS = 10.0


class Catalogue:
    def __init__(self, journal: Journal) -> None:
        self._images = journal.load("images", Image)
        self._layers = journal.load("layers", Layer)
        self._tags = journal.load("tags", Tag)
        self._configs: dict[str, ConfigFile] = {}
        self._state = threading.Condition(threading.RLock())
        self._holds: Counter[str] = Counter()
        self._leaving: set[str] = set()
        self._locks = KeyedLocks()

    # What is there

    def find(self, reference: str) -> Image:
        """By name[:tag], id or unique beginning of an id. Raises NoSuchImage, and Malformed for what can be neither."""
        with self._state:
            if is_image_id(reference):
                image = self.get("sha256:" + reference.removeprefix("sha256:"))
                if image is None:
                    raise NoSuchImage(reference)
                return image
            named = parse_reference(reference).with_default_tag()
            tag = self._tags.get(named.familiar)
            if tag is not None:
                return self._images[tag.image_id]
            prefix = parse_id_prefix(reference)
            found = [image for image in self.images() if prefix and image.id[7:].startswith(prefix)]
            if len(found) != 1:
                raise NoSuchImage(named.familiar)
            return found[0]

    def get(self, image_id: str) -> Image | None:
        image = self.of_container(image_id)
        return None if image is None or image.is_hidden else image

    def of_container(self, image_id: str) -> Image | None:
        """Also when it was removed by force under the container."""
        with self._state:
            return self._images.get(image_id)

    def images(self) -> Sequence[Image]:
        with self._state:
            return [image for image in self._images.values() if not image.is_hidden]

    def hidden_images(self) -> Sequence[Image]:
        with self._state:
            return [image for image in self._images.values() if image.is_hidden]

    def layer(self, chain_id: str) -> Layer | None:
        with self._state:
            return self._layers.get(chain_id)

    def layers(self) -> Sequence[Layer]:
        with self._state:
            return list(self._layers.values())

    def tag(self, reference: str) -> Tag | None:
        with self._state:
            return self._tags.get(reference)

    def tags(self) -> Sequence[Tag]:
        with self._state:
            return list(self._tags.values())

    def references(self, image_id: str) -> tuple[str, ...]:
        with self._state:
            return tuple(sorted(tag.reference for tag in self._tags.values() if tag.image_id == image_id))

    def references_by_image(self) -> dict[str, list[str]]:
        """Of all images at once: a listing of thousands must not search through all tags for each."""
        by_image: dict[str, list[str]] = {}
        with self._state:
            for tag in self._tags.values():
                by_image.setdefault(tag.image_id, []).append(tag.reference)
        return {image_id: sorted(references) for image_id, references in by_image.items()}

    def children(self, image_id: str) -> tuple[str, ...]:
        with self._state:
            return tuple(image.id for image in self.images() if image.parent == image_id)

    def config_file(self, image: Image) -> ConfigFile:
        with self._state:
            file = self._configs.get(image.id)
        if file is None:
            file = parse_config_file(image.raw_config, f"image {image.id}")
            with self._state:
                if image.id in self._images:
                    self._configs[image.id] = file
        return file

    def top_layer(self, image: Image) -> str:
        """The driver's id of the topmost layer, "" for an image without layers."""
        with self._state:
            return self._layers[image.chain_ids[-1]].id if image.diff_ids else ""

    def layers_only_of(self, image: Image) -> tuple[Layer, ...]:
        """The layers no other image runs through, topmost first."""
        with self._state:
            others = {chain for other in self._images.values() if other.id != image.id for chain in other.chain_ids}
            own = [self._layers[chain] for chain in reversed(image.chain_ids) if chain in self._layers]
            return tuple(layer for layer in own if layer.chain_id not in others)

    # How it changes

    @contextmanager
    def changing(
        self, images: Iterable[str] = (), chains: Iterable[str] = (), tags: Iterable[str] = ()
    ) -> Iterator[None]:
        keys = [f"image {name}" for name in images] + [f"chain {name}" for name in chains]
        with self._locks.hold(keys + [f"tag {name}" for name in tags]):
            yield

    def apply(self, changes: Iterable[Change]) -> None:
        """Take over what has been committed to the journal."""
        with self._state:
            for change in changes:
                match change:
                    case Put("images", image_id, Image() as image):
                        self._images[image_id] = image
                    case Put("layers", chain_id, Layer() as layer):
                        self._layers[chain_id] = layer
                    case Put("tags", reference, Tag() as tag):
                        self._tags[reference] = tag
                    case Drop("images", image_id):
                        self._images.pop(image_id, None)
                        self._configs.pop(image_id, None)
                    case Drop("layers", chain_id):
                        self._layers.pop(chain_id, None)
                    case Drop("tags", reference):
                        self._tags.pop(reference, None)

    @contextmanager
    def hold(self, image_id: str) -> Iterator[Image]:
        """The image stays while this is open. Raises NoSuchImage when it has gone."""
        with self._state:
            self._state.wait_for(lambda: image_id not in self._leaving)
            image = self._images.get(image_id)
            if image is None:
                raise NoSuchImage(image_id)
            self._holds[image_id] += 1
        try:
            yield image
        finally:
            with self._state:
                self._holds[image_id] -= 1
                if not self._holds[image_id]:
                    del self._holds[image_id]
                self._state.notify_all()

    @contextmanager
    def leaving(self, image_id: str) -> Iterator[None]:
        """Nobody holds the image and nobody can until this closes. Raises Conflict when somebody goes on holding it."""
        with self._state:
            free = self._state.wait_for(
                lambda: image_id not in self._holds and image_id not in self._leaving, HOLD_SECONDS
            )
            if not free:
                short = image_id.removeprefix("sha256:")[:12]
                raise Conflict(
                    "", f"conflict: unable to delete {short} (cannot be forced) - another operation is using the image"
                )
            self._leaving.add(image_id)
        try:
            yield
        finally:
            with self._state:
                self._leaving.discard(image_id)
                self._state.notify_all()
