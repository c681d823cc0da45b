from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fake_layers import FakeLayers
from support.image_store import ImageStore


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[Callable[[str], ImageStore]]:
    stores: list[ImageStore] = []

    def make(name: str) -> ImageStore:
        stores.append(ImageStore(tmp_path / name, FakeLayers))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store: Callable[[str], ImageStore]) -> ImageStore:
    return make_store("root")
