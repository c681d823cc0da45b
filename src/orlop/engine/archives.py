"""Files in and out of containers (`docker cp`), running or stopped.

An archive is unpacked and packed through descriptors beneath the container's root: no program of the container takes
part, and no library is loaded meanwhile. What is compressed is decompressed before the container is looked at. The
container is not locked while a client reads: it may be started, stopped and inspected.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from orlop.archive.compression import Compression, decompress, detect
from orlop.engine.archive_child import ArchiveChild
from orlop.engine.archive_paths import parse_requested_path
from orlop.engine.archive_work import PathStat, Unpacking, get_from, put_into, stat_in
from orlop.engine.views import Views
from orlop.model.container import Container
from orlop.model.mount import Mount, MountKind

Announce = Callable[[Container, str], None]  # publishes a container's event


class Archives:
    """Thread-safe. `scratch` is a folder for decompressed uploads; what a crash leaves there is somebody's to empty."""

    def __init__(self, find: Callable[[str], Container], views: Views, scratch: Path, announce: Announce) -> None:
        self._find = find
        self._views = views
        self._scratch = scratch
        self._announce = announce

    def stat(self, reference: str, path: str) -> PathStat:
        """Raises NoSuchContainer, and NotFound naming the path."""
        parse_requested_path(path)
        container = self._find(reference)
        with self._views.open(container) as view:
            if view.foreign:
                return ArchiveChild(view, path, _named(reference)).stat()
            return stat_in(view, path, _named(reference))

    def get(self, reference: str, path: str, out: BinaryIO, tell: Callable[[PathStat], None] = lambda _: None) -> None:
        """The file or directory as a tar, its members named from the last part of `path`. Before the first byte is
        written, `tell` is given what `stat` would say, or what it would raise is raised."""
        parse_requested_path(path)
        container = self._find(reference)

        def told(found: PathStat) -> None:
            tell(found)
            self._announce(container, "archive-path")

        with self._views.open(container) as view:
            if view.foreign:
                ArchiveChild(view, path, _named(reference)).get(out, told)
            else:
                get_from(view, path, _named(reference), out, told)

    def put(self, reference: str, path: str, archive: Path, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool) -> None:
        """Unpack an archive into the directory `path`, links followed. With `copy_uid_gid` everything belongs to the
        container's user. Raises Malformed for an archive that is broken or hostile; what came before that in it
        stays unpacked."""
        parse_requested_path(path)
        container = self._find(reference)
        user = container.config.user if copy_uid_gid else ""
        rootfs = container.host.readonly_rootfs
        with self._plain(archive) as plain, self._views.open(container, True) as view:
            shows_memory = container.is_running
            mounts = tuple(_as_memory(mount, view.vanishing) for mount in container.mounts)
            upload = Unpacking(plain, no_overwrite_dir_non_dir, user, mounts, rootfs, shows_memory)
            if view.foreign:
                ArchiveChild(view, path, _named(reference)).put(upload)
            else:
                put_into(view, path, _named(reference), upload)
            self._announce(container, "extract-to-dir")

    @contextmanager
    def _plain(self, archive: Path) -> Iterator[Path]:
        if detect(archive) is Compression.NONE:
            yield archive
            return
        with tempfile.NamedTemporaryFile(dir=self._scratch, prefix="cp-") as file:
            plain = Path(file.name)
            decompress(archive, plain, hashed=False)
            yield plain


def _as_memory(mount: Mount, vanishing: Collection[str]) -> Mount:
    """A volume in memory that nobody else uses would lose what is copied into it as soon as the copy ends."""
    return replace(mount, kind=MountKind.TMPFS) if mount.destination in vanishing else mount


def _named(reference: str) -> str:
    return f"container {reference}"
