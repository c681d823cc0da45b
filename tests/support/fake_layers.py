"""A layer driver that keeps each layer's tar as it came: quick, needs no root, and leaves a tree that can be compared.

It serves tests of what is above the driver; the drivers themselves are tested by their contract suite."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from orlop.archive.compression import decompress
from orlop.archive.reader import TarReader
from orlop.archive.source import ArchiveSource
from orlop.drivers.layers.driver import AppliedLayer, Progress
from orlop.model.container import LayerChange


class FakeLayers:
    name = "fake"

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def status(self) -> Sequence[tuple[str, str]]:
        return ()

    def list_layers(self) -> Sequence[str]:
        return sorted(path.name for path in self.root.iterdir())

    def create(self, layer_id: str, parent: str) -> None:
        assert not parent or (self.root / parent / "tar").exists()
        (self.root / layer_id).mkdir(exist_ok=True)
        (self.root / layer_id / "parent").write_text(parent)

    def apply(
        self, layer_id: str, archive: ArchiveSource, recipe: Path, progress: Progress | None = None
    ) -> AppliedLayer:
        with archive.path.open("rb") as file:
            file.seek(archive.offset)
            data = file.read() if archive.length < 0 else file.read(archive.length)
        packed, tar = self.root / layer_id / "packed", self.root / layer_id / "tar"
        packed.write_bytes(data)
        decompress(packed, tar)
        packed.unlink()
        with TarReader(tar) as reader:
            size = sum(member.size_bytes for member in reader)
        plain = tar.read_bytes()
        recipe.write_text(layer_id)
        return AppliedLayer("sha256:" + hashlib.sha256(plain).hexdigest(), size, len(plain))

    def seal(self, layer_id: str) -> None:
        (self.root / layer_id / "sealed").touch()

    def write_tar(self, layer_id: str, recipe: Path, out: BinaryIO) -> None:
        assert recipe.read_text() == layer_id
        with (self.root / layer_id / "tar").open("rb") as tar:
            shutil.copyfileobj(tar, out)

    def remove(self, layer_id: str) -> None:
        shutil.rmtree(self.root / layer_id, ignore_errors=True)

    def cleanup(self) -> None:
        pass

    def create_writable(self, layer_id: str, parent: str) -> None:
        raise NotImplementedError

    def mount(self, layer_id: str) -> Path:
        raise NotImplementedError

    def unmount(self, layer_id: str) -> None:
        raise NotImplementedError

    def open_tree(self, layer_id: str) -> int:
        raise NotImplementedError

    def is_mounted(self, layer_id: str) -> bool:
        raise NotImplementedError

    def changes(self, layer_id: str) -> Sequence[LayerChange]:
        raise NotImplementedError

    def write_changes_tar(self, layer_id: str, out: BinaryIO) -> None:
        raise NotImplementedError

    def size_bytes(self, layer_id: str) -> int:
        raise NotImplementedError

    def describe(self, layer_id: str) -> Mapping[str, str]:
        raise NotImplementedError
