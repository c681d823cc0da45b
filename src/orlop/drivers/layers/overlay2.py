"""Layers as directories that overlayfs merges, in Docker's layout.

    <root>/                0710
      l/                   0700   <26 characters> -> ../<id>/diff    names so short that 125 fit on a page
      <id>/                0710
        diff/                     the layer's own files; a writable layer's upper directory
        link                      the name under l/
        lower                     "l/A:l/B:..." top to bottom; not for a layer on nothing
        work/                     overlayfs' own, of writable layers
        merged/                   the whole tree, there only while mounted
        committed                 another layer stands on this one
      <id>-init/                  the skeleton between a writable layer and its image; comes and goes with it
      .trash/                     removed, to be deleted
      .opening-<random>/          read-only layers being mounted, for a moment

A layer exists when its directory does, finished or not: that is what `list_layers` tells. Everything in it is made
again by a repeated call. Durable is: a sealed layer (one syncfs, for files can be many) and a writable layer from the
start (fsync of the few files it has).
"""

import logging
import os
import re
import secrets
import string
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from orlop.archive.pack import PackOptions
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Whiteouts
from orlop.archive.worker import apply_layer_aside, pack_aside, rebuild_aside
from orlop.drivers.layers.blame import blaming
from orlop.drivers.layers.changes import find_changes, measure
from orlop.drivers.layers.departures import Departures
from orlop.drivers.layers.driver import AppliedLayer, Progress
from orlop.drivers.layers.skeleton import write_skeleton
from orlop.drivers.layers.stack import Merging, describe_implied, drop_idle_whiteouts
from orlop.drivers.layers.trash import Trash
from orlop.drivers.layers.trees import read_only_tree
from orlop.errors import Conflict, HostFailure, Malformed, NotFound
from orlop.kernel.filesystems import filesystem_name, sync_files, syncfs
from orlop.kernel.mounts import MS_RDONLY, detach_privately, mount
from orlop.kernel.thread_directory import call_in_directory
from orlop.model.container import LayerChange

_log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{64}")
_LINK_ALPHABET = string.ascii_uppercase + string.digits
_INIT = "-init"
_OPENING = ".opening-"
_PAGE = 4096
_PARAMETERS = Path("/sys/module/overlay/parameters")
# Off, whatever the host's default: each would store more in the upper directory than files, attributes and whiteouts,
# and then `changes` and `write_changes_tar` could not read a container's changes from it.
_FEATURES_OFF = ("index", "redirect_dir", "metacopy")


class Overlay2Layers:
    """Thread-safe; calls about one layer at a time are the caller's business, as the contract says."""

    name = "overlay2"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._links = root / "l"
        self._trash = Trash(root)
        self._departures = Departures()
        self._linking = threading.Lock()
        self._links_checked = False
        try:
            root.mkdir(mode=0o710, parents=True, exist_ok=True)
            self._links.mkdir(mode=0o700, exist_ok=True)
            for left in root.glob(f"{_OPENING}*"):
                detach_privately(left)
                left.rmdir()
        except OSError as error:
            raise HostFailure(f"layers in {root}", error.strerror or str(error)) from error

    def status(self) -> Sequence[tuple[str, str]]:
        return (
            ("Backing Filesystem", filesystem_name(str(self._root))),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        )

    def list_layers(self) -> Sequence[str]:
        names = {name.removesuffix(_INIT) for name in os.listdir(self._root)}
        return sorted(name for name in names if _ID.fullmatch(name))

    def create(self, layer_id: str, parent: str) -> None:
        with blaming(f"creating layer {layer_id}"):
            self._make(self._home(layer_id), self._existing(parent) if parent else None)

    def apply(
        self, layer_id: str, archive: ArchiveSource, recipe: Path, progress: Progress | None = None
    ) -> AppliedLayer:
        home = self._existing(layer_id)
        applied = apply_layer_aside(archive, home / "diff", recipe, home / "plain.tar", Whiteouts.MARK, progress)
        if applied.hides_everything_below:
            # overlayfs does not look for the opaque mark on a layer's root, so the stack itself ends here.
            _write(home / "lower", "")
        with blaming(f"applying layer {layer_id}"):
            merging = Merging(home / "diff", self._lower_directories(home))
            drop_idle_whiteouts(home / "diff", merging, applied.whiteouts)
            describe_implied(home / "diff", merging, applied.implied)
        if applied.lost_xattrs:
            _log.warning("layer %s: this file system cannot keep %s", layer_id, ", ".join(applied.lost_xattrs))
        return AppliedLayer(applied.diff_id, applied.size_bytes, applied.tar_bytes)

    def seal(self, layer_id: str) -> None:
        home = self._existing(layer_id)
        with blaming(f"sealing layer {layer_id}"):
            fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syncfs(fd)
            finally:
                os.close(fd)

    def write_tar(self, layer_id: str, recipe: Path, out: BinaryIO) -> None:
        rebuild_aside(recipe, self._existing(layer_id) / "diff", out)

    def create_writable(self, layer_id: str, parent: str) -> None:
        below = self._existing(parent) if parent else None
        home, init = self._home(layer_id), self._home(layer_id, _INIT)
        with blaming(f"creating writable layer {layer_id}"):
            self._make(init, below)
            write_skeleton(init / "diff", self._lower_directories(init))
            self._make(home, init)
            files = [path for path in (init / "link", init / "lower", home / "link", home / "lower") if path.exists()]
            sync_files([*files, init / "diff", init, home, self._links, self._root])

    def mount(self, layer_id: str) -> Path:
        home = self._existing(layer_id)
        merged = home / "merged"
        with blaming(f"mounting layer {layer_id}"):
            if _is_mounted(merged):
                return merged
            self._departures.wait(merged)
            merged.mkdir(mode=0o700, exist_ok=True)
            try:
                self._mount(home, merged)
            except OSError:
                merged.rmdir()
                raise
        return merged

    def unmount(self, layer_id: str) -> None:
        merged = self._home(layer_id) / "merged"
        with blaming(f"unmounting layer {layer_id}"):
            if _is_mounted(merged):
                self._departures.unmount(merged)
            try:
                merged.rmdir()
            except FileNotFoundError:
                return

    def is_mounted(self, layer_id: str) -> bool:
        return _is_mounted(self._home(layer_id) / "merged")

    def open_tree(self, layer_id: str) -> int:
        home = self._existing(layer_id)
        with blaming(f"opening layer {layer_id}"):
            if not _read(home / "lower"):
                return read_only_tree(home / "diff")  # overlayfs takes no fewer than two directories that it only reads
            place = Path(tempfile.mkdtemp(prefix=_OPENING, dir=self._root))
            try:
                self._mount_lower([f"l/{_read(home / 'link')}", *_read(home / "lower").split(":")], place)
                return read_only_tree(place)
            finally:
                detach_privately(place)
                place.rmdir()

    def changes(self, layer_id: str) -> Sequence[LayerChange]:
        home = self._existing(layer_id)
        with blaming(f"comparing layer {layer_id}"):
            return find_changes(home / "diff", self._lower_directories(home))

    def write_changes_tar(self, layer_id: str, out: BinaryIO) -> None:
        home = self._existing(layer_id)
        with blaming(f"packing layer {layer_id}"):
            pack_aside(home / "diff", out, PackOptions(whiteouts=True))

    def size_bytes(self, layer_id: str) -> int:
        home = self._existing(layer_id)
        with blaming(f"measuring layer {layer_id}"):
            return measure(home / "diff")

    def remove(self, layer_id: str) -> None:
        home = self._home(layer_id)
        if _is_mounted(home / "merged"):
            raise Conflict(f"removing layer {layer_id}", "it is mounted")
        with blaming(f"removing layer {layer_id}"):
            for path in (home, self._home(layer_id, _INIT)):
                link = _read(path / "link")
                self._trash.put(path)
                if link:
                    (self._links / link).unlink(missing_ok=True)

    def describe(self, layer_id: str) -> Mapping[str, str]:
        home = self._existing(layer_id)
        facts = {"UpperDir": str(home / "diff"), "WorkDir": str(home / "work"), "MergedDir": str(home / "merged")}
        lower = self._lower_directories(home)
        return {"LowerDir": ":".join(map(str, lower)), **facts} if lower else facts

    def cleanup(self) -> None:
        with self._linking:
            if not self._links_checked:  # a crash may have left some; afterwards `remove` takes its own away
                for link in self._links.iterdir():
                    if link.is_symlink() and not link.exists():
                        link.unlink(missing_ok=True)
                self._links_checked = True
        self._trash.empty()

    def _home(self, layer_id: str, suffix: str = "") -> Path:
        if not _ID.fullmatch(layer_id):
            raise Malformed(f"layer {layer_id!r}", "an id has 64 hexadecimal digits")
        return self._root / (layer_id + suffix)

    def _existing(self, layer_id: str) -> Path:
        home = self._home(layer_id)
        if not home.is_dir():
            raise NotFound(f"layer {layer_id}", "no such layer")
        return home

    def _make(self, home: Path, parent: Path | None) -> None:
        """A layer's directory with all that belongs in it; what is there already stays."""
        home.mkdir(mode=0o710, exist_ok=True)
        (home / "diff").mkdir(exist_ok=True)
        (home / "diff").chmod(0o755)
        link = _read(home / "link")
        if not link:
            link = "".join(secrets.choice(_LINK_ALPHABET) for _ in range(26))
            _write(home / "link", link)
        with self._linking:
            if not (self._links / link).is_symlink():
                (self._links / link).symlink_to(f"../{home.name}/diff")
        if parent is None:
            return
        (home / "work").mkdir(mode=0o700, exist_ok=True)
        if not (home / "lower").exists():
            lower = ":".join(filter(None, (f"l/{_read(parent / 'link')}", _read(parent / "lower"))))
            _write(home / "lower", lower)
        (parent / "committed").touch()

    def _lower_directories(self, home: Path) -> list[Path]:
        """The layers below, top first."""
        lower = _read(home / "lower")
        return [Path(os.path.realpath(self._root / link)) for link in lower.split(":")] if lower else []

    def _mount(self, home: Path, merged: Path) -> None:
        features = "".join(f"{name}=off," for name in _FEATURES_OFF if (_PARAMETERS / name).exists())
        lower = _read(home / "lower").split(":")

        def options(root: str) -> str:
            own = _escaped(root + home.name)
            return f"{features}{_lower_option(root, lower)},upperdir={own}/diff,workdir={own}/work"

        self._mount_overlay(merged, 0, options)

    def _mount_lower(self, links: Sequence[str], place: Path) -> None:
        self._mount_overlay(place, MS_RDONLY, lambda root: _lower_option(root, links))

    def _mount_overlay(self, place: Path, flags: int, options: Callable[[str], str]) -> None:
        """`options` are given what to put before the names below our root: mount(2) takes a page of them, and where
        whole paths are too long they are relative."""
        data = options(f"{self._root}/")
        if len(os.fsencode(data)) < _PAGE:
            mount("overlay", place, "overlay", flags, data)
            return
        data = options("")
        call_in_directory(self._root, lambda: mount("overlay", place, "overlay", flags, data))


def _lower_option(root: str, links: Sequence[str]) -> str:
    return "lowerdir=" + ":".join(_escaped(root + link) for link in links)


def _escaped(path: str) -> str:
    """overlayfs splits its options at colons and commas."""
    return re.sub(r"([\\:,])", r"\\\1", path)


def _is_mounted(merged: Path) -> bool:
    """An overlay has a device number of its own."""
    try:
        return merged.lstat().st_dev != merged.parent.lstat().st_dev
    except FileNotFoundError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all, also when the daemon is killed in between."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.rename(path)
