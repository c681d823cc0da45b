from collections.abc import Iterator, Sequence

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.image_catalogue import Catalogue
from orlop.store.paths import DataRoot


class Saving:
    def __init__(self, catalogue: Catalogue, layers: LayerDriver, data_root: DataRoot) -> None: ...
    def save(self, references: Sequence[str]) -> Iterator[bytes]:
        raise NotImplementedError
