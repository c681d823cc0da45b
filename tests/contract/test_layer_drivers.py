"""Every layer driver keeps the contract, on an ext4 of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.layers.driver import LayerDriver
from orlop.drivers.layers.overlay2 import Overlay2Layers
from orlop.drivers.layers.vfs import VfsLayers
from orlop.kernel.mounts import mounts_at_or_below, unmount
from orlop.testing.layers import LayerDriverContract
from support.disks import mounted_disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, needs_root: None) -> Iterator[Path]:
    with mounted_disk(tmp_path_factory.mktemp("disk"), 512 << 20) as path:
        yield path


class TestOverlay2(LayerDriverContract):
    @pytest.fixture
    def driver(self, disk: Path, tmp_path: Path) -> Iterator[LayerDriver]:
        self.root = disk / tmp_path.name / "overlay2"
        yield Overlay2Layers(self.root)
        for mount in mounts_at_or_below(self.root):
            unmount(mount.mount_point)

    def reopened(self, driver: LayerDriver) -> LayerDriver:
        return Overlay2Layers(self.root)


class TestVfs(LayerDriverContract):
    @pytest.fixture
    def driver(self, disk: Path, tmp_path: Path) -> LayerDriver:
        self.root = disk / tmp_path.name / "vfs"
        return VfsLayers(self.root)

    def reopened(self, driver: LayerDriver) -> LayerDriver:
        return VfsLayers(self.root)
