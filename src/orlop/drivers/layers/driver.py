"""What a layer driver is.

Words. A *layer* is an immutable file tree, stacked on at most one parent. A *writable layer* is the thin tree on top
of it that belongs to one container. *Mounting* makes the stack visible as one tree.

Life of a read-only layer: `create` -> `apply` (once, from a tar) -> `seal` -> used as a parent -> `remove`. Within one
operation a layer may be made on one that is applied and not yet sealed; nothing else uses that before it is.
Life of a writable layer: `create_writable` -> `mount` / `unmount`, any number of times -> `remove`.

Who calls. The executor, step by step; ids are the caller's (64 hex) and never reused. A repeated call with the same
wish is a success that changes nothing ("it is so"): creating a layer that is there, removing one that is gone,
mounting what is mounted. After a crash `list_layers` alone says what exists; whatever the journal does not know is
removed. A driver touches nothing outside its own root.

Durable is a read-only layer once it is sealed, a writable one once it is created. Names of files are Python's: bytes
that are not UTF-8 are surrogates.

Errors. Malformed for an archive that is wrong or hostile (nothing of it stays once `remove` was called), NotFound for
an unknown layer, HostFailure for the kernel and the disk, Conflict for removing what is mounted.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from orlop.archive.source import ArchiveSource
from orlop.model.container import LayerChange
from orlop.model.value import dataclass

Progress = Callable[[int], None]  # called with the number of archive bytes done so far


@dataclass(frozen=True, slots=True)
class AppliedLayer:
    diff_id: str  # sha256 of the uncompressed tar, "sha256:<hex>"
    size_bytes: int  # sum of the regular files' sizes
    tar_bytes: int  # length of the uncompressed tar: what `write_tar` will write


class LayerDriver(Protocol):
    @property
    def name(self) -> str:
        """As `docker info` shows it: overlay2, vfs."""

    def status(self) -> Sequence[tuple[str, str]]:
        """Facts for `docker info`, e.g. ("Backing Filesystem", "extfs")."""

    def list_layers(self) -> Sequence[str]:
        """Ids of all layers, finished or not, read-only or writable."""

    def create(self, layer_id: str, parent: str) -> None:
        """An empty layer on `parent` ("" for none), not usable as a parent before it is applied."""

    def apply(
        self, layer_id: str, archive: ArchiveSource, recipe: Path, progress: Progress | None = None
    ) -> AppliedLayer:
        """Unpack `archive` (a tar, plain or compressed by gzip, bzip2, xz or zstd) into the layer, whiteouts
        converted, every path confined. Writes to `recipe` what `write_tar` needs to build the same tar again.
        Raises Malformed for a truncated or hostile archive."""

    def seal(self, layer_id: str) -> None:
        """The layer is complete and on disk (synced); from now on it is only read."""

    def write_tar(self, layer_id: str, recipe: Path, out: BinaryIO) -> None:
        """The layer's tar, byte for byte as it was applied. Raises HostFailure where the layer was altered."""

    def create_writable(self, layer_id: str, parent: str) -> None:
        """An empty writable layer on the read-only layer `parent` ("" for an image without layers), with the
        skeleton every container needs (/proc, /sys, /dev, /etc/hosts ... ) in a layer of its own between them, so
        that it never shows in `changes`."""

    def mount(self, layer_id: str) -> Path:
        """The writable layer's whole tree; stays mounted until `unmount`, through restarts of the daemon too."""

    def unmount(self, layer_id: str) -> None: ...

    def is_mounted(self, layer_id: str) -> bool: ...

    def open_tree(self, layer_id: str) -> int:
        """The whole tree of a read-only layer and those below it as a detached mount (open_tree(2)), read-only and
        private, for the caller to attach somewhere or to look at, and to close. It stays whole as long as it is open or
        mounted anywhere; the caller sees to it that no layer of it is removed meanwhile. Nothing of it is left behind
        by a crash once a driver is made anew."""

    def changes(self, layer_id: str) -> Sequence[LayerChange]:
        """Differences of a writable layer from its parent, sorted by path."""

    def write_changes_tar(self, layer_id: str, out: BinaryIO) -> None:
        """The writable layer as a tar with OCI whiteouts, for commit. Raises Unsupported for a file that a layer cannot
        hold, because its name means a whiteout."""

    def size_bytes(self, layer_id: str) -> int:
        """Bytes in the layer's own files."""

    def remove(self, layer_id: str) -> None:
        """Gone from `list_layers` when this returns; the bytes may be deleted later. Raises Conflict when mounted."""

    def describe(self, layer_id: str) -> Mapping[str, str]:
        """Docker's GraphDriver data of a layer: UpperDir, LowerDir, ..."""

    def cleanup(self) -> None:
        """Delete what `remove` only put aside. Called at start and after removals, in the background."""
