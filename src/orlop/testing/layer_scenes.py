"""What the contract suite of layer drivers is written in: making layers, looking at them."""

import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.archive.source import ArchiveSource
from orlop.drivers.layers.driver import AppliedLayer, LayerDriver

SKELETON = {"dev", "proc", "sys", "etc", ".dockerenv"}


class LayerScenes:
    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path) -> None:
        self.scratch = tmp_path

    def reopened(self, driver: LayerDriver) -> LayerDriver:
        raise NotImplementedError

    def layer(self, driver: LayerDriver, tar: bytes, parent: str = "") -> str:
        layer_id = new_id()
        driver.create(layer_id, parent)
        self.applied(driver, layer_id, tar)
        driver.seal(layer_id)
        return layer_id

    def applied(self, driver: LayerDriver, layer_id: str, tar: bytes) -> AppliedLayer:
        archive = self.scratch / f"{layer_id}.tar"
        archive.write_bytes(tar)
        return driver.apply(layer_id, ArchiveSource(archive), self.recipe(layer_id))

    def recipe(self, layer_id: str) -> Path:
        return self.scratch / f"{layer_id}.recipe"

    @contextmanager
    def mounted(self, driver: LayerDriver, parent: str) -> Iterator[tuple[str, Path]]:
        """A new writable layer's tree; removed afterwards."""
        layer_id = new_id()
        driver.create_writable(layer_id, parent)
        try:
            yield layer_id, driver.mount(layer_id)
        finally:
            driver.unmount(layer_id)
            driver.remove(layer_id)

    def shown(self, driver: LayerDriver, parent: str) -> set[str]:
        """All paths of an image's tree, without the skeleton."""
        with self.mounted(driver, parent) as (_, root):
            return {path for path in paths_below(root) if path.split("/")[0] not in SKELETON}

    def rebuilt(self, driver: LayerDriver, layer_id: str) -> bytes:
        out = io.BytesIO()
        driver.write_tar(layer_id, self.recipe(layer_id), out)
        return out.getvalue()


def new_id() -> str:
    return secrets.token_hex(32)


def paths_below(root: Path) -> set[str]:
    found: set[str] = set()
    for folder, folders, files in os.walk(root):
        found.update(os.path.relpath(f"{folder}/{name}", root) for name in (*folders, *files))
    return found


def snapshot(root: Path) -> dict[str, object]:
    """What a tree is to those who use it, times to the second, without the skeleton."""
    found: dict[str, object] = {}
    for path in sorted(paths_below(root)):
        if path.split("/")[0] in SKELETON:
            continue
        details = (root / path).lstat()
        content: object = None
        if stat.S_ISREG(details.st_mode):
            content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        elif stat.S_ISLNK(details.st_mode):
            content = (root / path).readlink()
        is_directory = stat.S_ISDIR(details.st_mode)
        found[path] = (
            details.st_mode, details.st_uid, details.st_gid, details.st_rdev, content,
            None if is_directory else (details.st_nlink, int(details.st_mtime)),
            {name: os.getxattr(root / path, name, follow_symlinks=False)
             for name in os.listxattr(root / path, follow_symlinks=False) if not name.startswith("trusted.overlay")},
        )  # fmt: skip
    return found
