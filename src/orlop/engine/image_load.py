"""Loading."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orlop.engine.image_catalogue import Catalogue
from orlop.engine.image_layers import LayerOperations
from orlop.model.image import Image
from orlop.store.paths import DataRoot


@dataclass(frozen=True, slots=True)
class LoadedImage:
    id: str
    references: tuple[str, ...]


class Loading:
    def __init__(
        self,
        catalogue: Catalogue,
        layers: LayerOperations,
        data_root: DataRoot,
        announce: Callable[[str, Image, str], None],
    ) -> None: ...
    def load(self, archive: Path, report: Callable[[str], None]) -> Sequence[LoadedImage]:
        raise NotImplementedError
