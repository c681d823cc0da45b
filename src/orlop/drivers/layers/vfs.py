"""Layers as whole copies, for disks on which overlayfs cannot be mounted. Slow and large, and it works everywhere.

    <root>/                0710
      dir/<id>/                   a layer's whole tree: its parent's, with its own changes
      dir/.new-<id>/              being copied
      layers/<id>/         0710
        parent                    id of the layer it stands on; empty for none
        skeleton/                 of a writable layer: what was put over the image, to tell a container's changes from
        mounted                   the boot in which it was mounted: a "mount" is this mark alone
      .trash/                     removed, to be deleted

Where the disk can share data between files (btrfs, xfs with reflinks) a copy takes only the time.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.reader import TarReader
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Options, Whiteouts, unpack
from orlop.archive.worker import apply_layer_aside, pack_aside, rebuild_aside
from orlop.drivers.layers.blame import blaming
from orlop.drivers.layers.changes import DELETED, find_changes, measure
from orlop.drivers.layers.driver import AppliedLayer, Progress
from orlop.drivers.layers.skeleton import write_skeleton
from orlop.drivers.layers.trash import Trash
from orlop.drivers.layers.trees import read_only_tree
from orlop.errors import Conflict, HostFailure, Malformed, NotFound
from orlop.kernel.filesystems import filesystem_name, syncfs
from orlop.model.container import LayerChange
from orlop.store.files import remove_tree, sync_directory, write_durably
from orlop.store.trees import TreeCopy

_ID = re.compile(r"[0-9a-f]{64}")
_NEW = ".new-"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class VfsLayers:
    """Thread-safe; calls about one layer at a time are the caller's business, as the contract says."""

    name = "vfs"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees = root / "dir"
        self._homes = root / "layers"
        self._trash = Trash(root)
        try:
            for directory in (root, self._trees, self._homes):
                directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        except OSError as error:
            raise HostFailure(f"layers in {root}", error.strerror or str(error)) from error

    def status(self) -> Sequence[tuple[str, str]]:
        return (("Backing Filesystem", filesystem_name(str(self._root))),)

    def list_layers(self) -> Sequence[str]:
        names = {name.removeprefix(_NEW) for name in os.listdir(self._trees)} | set(os.listdir(self._homes))
        return sorted(name for name in names if _ID.fullmatch(name))

    def create(self, layer_id: str, parent: str) -> None:
        with blaming(f"creating layer {layer_id}"):
            if not self._tree(layer_id).is_dir():
                self._copy_parent(layer_id, parent).rename(self._tree(layer_id))

    def apply(
        self, layer_id: str, archive: ArchiveSource, recipe: Path, progress: Progress | None = None
    ) -> AppliedLayer:
        tree = self._existing(layer_id)
        scratch = self._home(layer_id) / "plain.tar"
        applied = apply_layer_aside(archive, tree, recipe, scratch, Whiteouts.APPLY, progress)
        return AppliedLayer(applied.diff_id, applied.size_bytes, applied.tar_bytes)

    def seal(self, layer_id: str) -> None:
        with blaming(f"sealing layer {layer_id}"):
            _sync(self._existing(layer_id))

    def write_tar(self, layer_id: str, recipe: Path, out: BinaryIO) -> None:
        rebuild_aside(recipe, self._existing(layer_id), out)

    def create_writable(self, layer_id: str, parent: str) -> None:
        tree = self._tree(layer_id)
        with blaming(f"creating writable layer {layer_id}"):
            if tree.is_dir():
                return
            new = self._copy_parent(layer_id, parent)
            skeleton = self._home(layer_id) / "skeleton"
            remove_tree(skeleton)
            skeleton.mkdir()
            write_skeleton(skeleton, [self._tree(parent)] if parent else [])
            _lay_over(skeleton, new)
            _sync(new)
            new.rename(tree)
            sync_directory(self._trees)

    def mount(self, layer_id: str) -> Path:
        tree = self._existing(layer_id)
        with blaming(f"mounting layer {layer_id}"):
            (self._home(layer_id) / "mounted").write_text(_BOOT.read_text())
        return tree

    def unmount(self, layer_id: str) -> None:
        with blaming(f"unmounting layer {layer_id}"):
            (self._home(layer_id) / "mounted").unlink(missing_ok=True)

    def is_mounted(self, layer_id: str) -> bool:
        try:
            return (self._home(layer_id) / "mounted").read_text() == _BOOT.read_text()
        except FileNotFoundError:
            return False

    def open_tree(self, layer_id: str) -> int:
        with blaming(f"opening layer {layer_id}"):
            return read_only_tree(self._existing(layer_id))

    def changes(self, layer_id: str) -> Sequence[LayerChange]:
        tree, home = self._existing(layer_id), self._home(layer_id)
        parent = (home / "parent").read_text()
        with blaming(f"comparing layer {layer_id}"):
            return find_changes(tree, [home / "skeleton", *([self._tree(parent)] if parent else [])], whole=True)

    def write_changes_tar(self, layer_id: str, out: BinaryIO) -> None:
        changes = [(change.path.removeprefix("/"), change.kind) for change in self.changes(layer_id)]
        options = PackOptions(
            whiteouts=True,
            only=frozenset(path for path, kind in changes if kind != DELETED),
            deleted=tuple(path for path, kind in changes if kind == DELETED),
        )
        with blaming(f"packing layer {layer_id}"):
            pack_aside(self._existing(layer_id), out, options)

    def size_bytes(self, layer_id: str) -> int:
        with blaming(f"measuring layer {layer_id}"):
            return measure(self._existing(layer_id))

    def remove(self, layer_id: str) -> None:
        if self.is_mounted(layer_id):
            raise Conflict(f"removing layer {layer_id}", "it is mounted")
        with blaming(f"removing layer {layer_id}"):
            for path in (self._tree(layer_id), self._tree(layer_id, _NEW), self._home(layer_id)):
                self._trash.put(path)

    def describe(self, layer_id: str) -> Mapping[str, str]:
        return {"SourceDir": str(self._existing(layer_id))}

    def cleanup(self) -> None:
        self._trash.empty()

    def _tree(self, layer_id: str, prefix: str = "") -> Path:
        if not _ID.fullmatch(layer_id):
            raise Malformed(f"layer {layer_id!r}", "an id has 64 hexadecimal digits")
        return self._trees / (prefix + layer_id)

    def _home(self, layer_id: str) -> Path:
        return self._homes / self._tree(layer_id).name

    def _existing(self, layer_id: str) -> Path:
        tree = self._tree(layer_id)
        if not tree.is_dir():
            raise NotFound(f"layer {layer_id}", "no such layer")
        return tree

    def _copy_parent(self, layer_id: str, parent: str) -> Path:
        """The parent's tree under a name of its own, until it is complete."""
        source = self._existing(parent) if parent else None
        home, new = self._home(layer_id), self._tree(layer_id, _NEW)
        home.mkdir(mode=0o710, exist_ok=True)
        write_durably(home / "parent", parent.encode())
        remove_tree(new)
        new.mkdir()
        new.chmod(0o755)
        if source:
            with _opened(source) as source_fd, _opened(new) as target_fd:
                TreeCopy(source_fd, target_fd).run()
        return new


def _lay_over(skeleton: Path, tree: Path) -> None:
    """Put the skeleton into a tree that may have other things in its places, as overlayfs would show it."""
    with tempfile.NamedTemporaryFile(dir=skeleton.parent) as file:
        with _opened(skeleton) as fd:
            pack_tree(fd, file, options=PackOptions(exact_times=True))
        file.flush()
        with _opened(tree) as fd, TarReader(Path(file.name)) as archive:
            unpack(archive, fd, Options())


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _sync(path: Path) -> None:
    with _opened(path) as fd:
        syncfs(fd)
