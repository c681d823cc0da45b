"""Taking images away: `rmi` with Docker's rules of what may go and what only loses a name, and `prune`."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import field, replace

from orlop.engine.image_catalogue import Catalogue
from orlop.engine.image_layers import LayerOperations
from orlop.engine.image_listing import ContainersUsing, created_ns, single_flag
from orlop.errors import Conflict, NoSuchImage
from orlop.model.filters import Filters, matches_labels, require_known
from orlop.model.image import Image, Layer
from orlop.model.moments import parse_moment
from orlop.model.reference import parse_id_prefix, parse_reference
from orlop.model.value import dataclass
from orlop.store.journal import Drop, Put

PRUNE_FILTERS = ("dangling", "label", "label!", "until")

Announce = Callable[[str, Image, str], None]  # an event: action, image, name


@dataclass(frozen=True, slots=True)
class ImageRemoval:
    untagged: tuple[str, ...]
    deleted: tuple[str, ...]  # the image's id, then the chain ids of its layers


@dataclass(slots=True)
class _Record:
    untagged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    reclaimed_bytes: int = 0


def short_id(image_or_container_id: str) -> str:
    return image_or_container_id.removeprefix("sha256:")[:12]


class Removal:
    """`using` tells which containers an image has, and whether they run."""

    def __init__(self, catalogue: Catalogue, operations: LayerOperations, announce: Announce) -> None:
        self._catalogue = catalogue
        self._operations = operations
        self._announce = announce

    def remove(self, reference: str, force: bool, prune_parents: bool, using: ContainersUsing) -> ImageRemoval:
        record = _Record()
        while True:
            image = self._catalogue.find(reference)
            references = self._catalogue.references(image.id)
            with self._catalogue.changing([image.id], image.chain_ids, references):
                if self._is_still_so(reference, image, references):
                    self._remove(image, reference, force, using, record)
                    break
        if prune_parents and record.deleted:
            self._prune_parents(image, using, record)
        return ImageRemoval(tuple(record.untagged), tuple(record.deleted))

    def prune(self, filters: Filters, using: ContainersUsing) -> tuple[ImageRemoval, int]:
        require_known(filters, PRUNE_FILTERS)
        only_dangling = single_flag(filters, "dangling") is not False
        until = [parse_moment(text, time.time_ns()) for text in filters.get("until", ())]
        record = _Record()
        for image in sorted(self._catalogue.images(), key=created_ns, reverse=True):
            labels = self._catalogue.config_file(image).config.labels
            wanted = matches_labels(labels, filters.get("label", ())) and not any(
                matches_labels(labels, [term]) for term in filters.get("label!", ())
            )
            if wanted and all(created_ns(image) < limit for limit in until):
                self._remove_unused(image, only_dangling, using, record)
                self._prune_parents(image, using, record)
        return ImageRemoval(tuple(record.untagged), tuple(record.deleted)), record.reclaimed_bytes

    def _is_still_so(self, reference: str, image: Image, references: Sequence[str]) -> bool:
        """Whether what was looked up before the locks were taken still holds."""
        try:
            found = self._catalogue.find(reference)
        except NoSuchImage:
            return False
        return found == image and self._catalogue.references(image.id) == references

    def _remove(self, image: Image, reference: str, force: bool, using: ContainersUsing, record: _Record) -> None:
        references = self._catalogue.references(image.id)
        prefix = parse_id_prefix(reference)
        by_id = bool(prefix) and image.id[7:].startswith(prefix)
        name = "" if by_id else parse_reference(reference).with_default_tag().familiar
        if not by_id and len(references) > 1:
            self._untag(image, name, record)
            return
        with self._catalogue.leaving(image.id):
            if by_id:
                if conflict := self._conflict(image, force, using, allowed_references=1):
                    raise conflict
                self._delete(image, using, record)
                return
            containers = using(image.id)
            if containers and not force:
                raise Conflict(
                    "",
                    f'conflict: unable to remove repository reference "{reference}" (must force) - container '
                    f"{short_id(containers[0][0])} is using its referenced image {short_id(image.id)}",
                )
            if self._conflict(image, force, using, allowed_references=1):
                self._untag(image, name, record)  # the image itself stays, without a name
            else:
                self._delete(image, using, record)

    def _conflict(self, image: Image, force: bool, using: ContainersUsing, allowed_references: int) -> Conflict | None:
        """Why the image cannot be deleted; force overrules all but children and running containers."""
        containers = using(image.id)
        running = [container for container, is_running in containers if is_running]
        if self._catalogue.children(image.id):
            why, how = "image has dependent child images", "cannot be forced"
        elif running:
            why, how = f"image is being used by running container {short_id(running[0])}", "cannot be forced"
        elif force:
            return None
        elif len(self._catalogue.references(image.id)) > allowed_references:
            why, how = "image is referenced in multiple repositories", "must be forced"
        elif containers:
            why, how = f"image is being used by stopped container {short_id(containers[0][0])}", "must be forced"
        else:
            return None
        return Conflict("", f"conflict: unable to delete {short_id(image.id)} ({how}) - {why}")

    def _untag(self, image: Image, name: str, record: _Record) -> None:
        self._operations.commit(Drop("tags", name))
        record.untagged.append(name)
        self._announce("untag", image, image.id)

    def _delete(self, image: Image, using: ContainersUsing, record: _Record) -> None:
        references = self._catalogue.references(image.id)
        if using(image.id):
            # By force, under stopped containers: these need its layers, so only the image goes.
            layers: Sequence[Layer] = ()
            forgotten = [Drop("tags", reference) for reference in references]
            self._operations.commit(Put("images", image.id, replace(image, is_hidden=True)), *forgotten)
        else:
            layers = self._catalogue.layers_only_of(image)
            self._operations.remove(image, references, layers)
        record.untagged += references
        record.deleted += [image.id, *(layer.chain_id for layer in layers)]
        record.reclaimed_bytes += sum(layer.size_bytes for layer in layers)
        for _ in references:
            self._announce("untag", image, image.id)
        self._announce("delete", image, image.id)

    def collect(self, using: ContainersUsing) -> None:
        """Remove the layers of images that were removed by force and have no container left."""
        for image in self._catalogue.hidden_images():
            if using(image.id):
                continue
            locks = self._catalogue.changing([image.id], image.chain_ids)
            with suppress(Conflict), locks, self._catalogue.leaving(image.id):
                now = self._catalogue.of_container(image.id)
                if now and now.is_hidden and not using(image.id):
                    self._operations.remove(image, (), self._catalogue.layers_only_of(image))

    def _prune_parents(self, image: Image, using: ContainersUsing, record: _Record) -> None:
        """Images that existed only as a step to this one go with it, as far down as nobody else needs them."""
        while image.id in record.deleted and image.parent:
            parent = self._catalogue.get(image.parent)
            if parent is None:
                return
            self._remove_unused(parent, True, using, record)
            image = parent

    def _remove_unused(self, image: Image, only_dangling: bool, using: ContainersUsing, record: _Record) -> None:
        references = self._catalogue.references(image.id)
        if using(image.id) or self._catalogue.children(image.id) or (only_dangling and references):
            return
        with self._catalogue.changing([image.id], image.chain_ids, references):
            if self._catalogue.get(image.id) is None or self._catalogue.references(image.id) != references:
                return
            try:
                with self._catalogue.leaving(image.id):
                    if not self._conflict(image, False, using, allowed_references=len(references)):
                        self._delete(image, using, record)
            except Conflict:
                return  # somebody is using it just now: not unused
