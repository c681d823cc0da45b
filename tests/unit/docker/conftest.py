from collections.abc import Iterator
from pathlib import Path

import pytest

from support.edge import Fakes, Served, make_fakes


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return make_fakes(tmp_path / "data")


@pytest.fixture
def served(tmp_path: Path, fakes: Fakes) -> Iterator[Served]:
    with Served(tmp_path / "s", fakes) as server:
        yield server
