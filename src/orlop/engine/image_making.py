"""New images of one new layer: `import` (a root file system's tar) and `commit` (a container's changes)."""

import hashlib
import platform as host
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from orlop.drivers.layers.driver import AppliedLayer
from orlop.engine.image_catalogue import Catalogue
from orlop.engine.image_layers import LayerOperations, new_layer_id
from orlop.errors import Malformed, Unsupported
from orlop.model.image import MAX_LAYERS, Image, ImageConfig, Layer, Tag
from orlop.model.image_config import ConfigFile, HistoryEntry, render_config_file
from orlop.model.platform import Platform, go_architecture, parse_platform
from orlop.model.timestamp import render_timestamp
from orlop.model.value import dataclass
from orlop.planning.images import LayerToMake
from orlop.store.journal import Change, Put

# The digest of a tar without members, 1024 zeros: a container that changed nothing adds no layer.
EMPTY_DIFF_ID = "sha256:" + hashlib.sha256(bytes(1024)).hexdigest()


@dataclass(frozen=True, slots=True)
class NewImage:
    """What an image of one new layer is to say; the diff id is added when the layer is there."""

    operation: str  # image.import, image.commit
    config: ImageConfig
    platform: Platform
    comment: str
    author: str = ""
    created_by: str = ""
    parent: Image | None = None
    reference: str = ""  # its tag, familiar and complete; "" for none


def host_platform() -> Platform:
    return Platform("linux", go_architecture(host.machine()))


def image_platform(text: str) -> Platform:
    wanted = parse_platform(text, host_platform())
    if wanted.os != "linux":
        raise Unsupported(f"platform {text}", f"images of {wanted.os} cannot be made on linux")
    return wanted


def check_depth(layers: int) -> None:
    if layers > MAX_LAYERS:
        raise Malformed("", "max depth exceeded", f"An image may have at most {MAX_LAYERS} layers")


def image_id_of(raw_config: str) -> str:
    return "sha256:" + hashlib.sha256(raw_config.encode()).hexdigest()


class ImageMaking:
    def __init__(self, catalogue: Catalogue, operations: LayerOperations) -> None:
        self._catalogue = catalogue
        self._operations = operations

    def make(self, wish: NewImage, archive: Path) -> Image:
        parent = wish.parent
        check_depth(len(parent.diff_ids) + 1 if parent else 1)
        with ExitStack() as held:
            below = ""
            if parent:
                held.enter_context(self._catalogue.hold(parent.id))
                below = self._catalogue.top_layer(parent)
            position = len(parent.diff_ids) + 1 if parent else 1
            layer = LayerToMake(new_layer_id(), below, str(archive), 0, -1, position)
            outcome = _Outcome(wish, layer, self._catalogue, held)
            self._operations.make(wish.operation, wish.reference or "untagged", [layer], outcome, [archive])
        if outcome.superfluous:
            self._operations.discard(layer.layer_id)
        return outcome.image


class _Outcome:
    """What the journal learns once the layer is there: only then are diff id, chain id and image id known, so only
    then can their locks be taken; they are held until the change is in memory."""

    image: Image

    def __init__(self, wish: NewImage, layer: LayerToMake, catalogue: Catalogue, held: ExitStack) -> None:
        self._wish = wish
        self._layer = layer
        self._catalogue = catalogue
        self._held = held
        self.superfluous = False  # the layer was there already, or is empty

    def __call__(self, applied: Sequence[AppliedLayer]) -> Sequence[Change]:
        (new,) = applied
        parent, reference = self._wish.parent, self._wish.reference
        below = parent.diff_ids if parent else ()
        is_empty = parent is not None and new.diff_id == EMPTY_DIFF_ID
        diff_ids = below if is_empty else (*below, new.diff_id)
        self.image = self._describe(diff_ids, is_empty, (parent.size_bytes if parent else 0) + new.size_bytes)
        chain = self.image.chain_ids
        tags = [reference] if reference else []
        self._held.enter_context(self._catalogue.changing([self.image.id], chain[-1:], tags))
        changes: list[Change] = [Put("images", self.image.id, self.image)]
        changes += [Put("tags", tag, Tag(tag, self.image.id)) for tag in tags]
        if is_empty or self._catalogue.layer(chain[-1]) is not None:
            self.superfluous = True
        else:
            lower = chain[-2] if len(chain) > 1 else ""
            record = Layer(chain[-1], new.diff_id, lower, self._layer.layer_id, new.size_bytes, new.tar_bytes)
            changes.append(Put("layers", record.chain_id, record))
        return changes

    def _describe(self, diff_ids: tuple[str, ...], is_empty: bool, size_bytes: int) -> Image:
        wish, now = self._wish, time.time_ns()
        created = render_timestamp(now)
        entry = HistoryEntry(created, wish.created_by, wish.author, wish.comment, is_empty)
        earlier = self._catalogue.config_file(wish.parent).history if wish.parent else ()
        file = ConfigFile(
            config=wish.config,
            diff_ids=diff_ids,
            history=(*earlier, entry),
            created=created,
            architecture=wish.platform.architecture,
            variant=wish.platform.variant,
            os=wish.platform.os,
            author=wish.author,
            comment=wish.comment,
        )
        raw = render_config_file(file)
        parent_id = wish.parent.id if wish.parent and not wish.parent.is_hidden else ""
        return Image(image_id_of(raw), raw, diff_ids, size_bytes, created, now, parent_id, wish.comment)
