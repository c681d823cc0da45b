"""The last one out unmounts."""

from pathlib import Path
from typing import cast

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.layer_mounts import LayerMounts


class Mounted:
    """As much of a layer driver as counts here."""

    def __init__(self) -> None:
        self.mounted: set[str] = set()

    def mount(self, layer_id: str) -> Path:
        self.mounted.add(layer_id)
        return Path("/merged") / layer_id

    def unmount(self, layer_id: str) -> None:
        self.mounted.discard(layer_id)


def test_a_layer_stays_mounted_while_anybody_needs_it() -> None:
    driver = Mounted()
    mounts = LayerMounts(cast(LayerDriver, driver))
    mounts.acquire("a", "process")
    with mounts.mounted("a", "export"):
        mounts.release("a", "process")
        assert driver.mounted == {"a"}
    assert driver.mounted == set()


def test_asking_twice_under_one_name_counts_once() -> None:
    driver = Mounted()
    mounts = LayerMounts(cast(LayerDriver, driver))
    assert mounts.acquire("a", "process") == mounts.acquire("a", "process") == Path("/merged/a")
    mounts.release("a", "process")
    assert driver.mounted == set()


def test_releasing_what_a_crash_left_mounted_unmounts_it() -> None:
    driver = Mounted()
    driver.mounted.add("a")
    LayerMounts(cast(LayerDriver, driver)).release("a", "process")
    assert driver.mounted == set()


def test_a_layer_that_goes_is_unmounted_whoever_uses_it() -> None:
    driver = Mounted()
    mounts = LayerMounts(cast(LayerDriver, driver))
    with mounts.mounted("a", "view"):
        mounts.evict("a")
        assert driver.mounted == set()
    assert driver.mounted == set()
