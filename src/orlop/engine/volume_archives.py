"""Volumes as archives: files in and out of one (as `docker cp` does with containers), and whole ones out and in.

Paths are looked up beneath the volume's top directory, each through descriptors, whatever other processes put there
meanwhile; a link's "/" is that directory. Archives that come in are unpacked by a process of their own as they arrive:
nothing is spooled.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import BinaryIO

from orlop.archive.stream import read_comment
from orlop.archive.unpack import Options
from orlop.archive.worker import Arrived, export_aside, unpack_aside
from orlop.engine.archive_child import ArchiveChild
from orlop.engine.archive_paths import parse_requested_path
from orlop.engine.archive_work import PathStat, found_path, get_from, stat_in
from orlop.engine.patience import WAY_OUT
from orlop.engine.views import View
from orlop.engine.volume_access import VolumeAccess
from orlop.engine.volume_copies import NewVolume, VolumeCopies
from orlop.errors import Conflict, HostFailure, Malformed, Unavailable
from orlop.model.value import dataclass
from orlop.model.volume import ANONYMOUS_LABEL, Volume
from orlop.model.volume_description import (
    VolumeDescription,
    describe_volume,
    parse_description,
    render_description,
)


@dataclass(frozen=True, slots=True)
class ImportWish:
    """What the caller says of the volume to be made; it wins over what the archive says."""

    name: str = ""
    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Imported:
    volume: Volume
    arrived: Arrived
    left_out: tuple[str, ...] = ()  # options of the archive that say where the data was
    omitted: tuple[str, ...] = ()  # options that were not in the archive because of a secret in them


class VolumeArchives:
    """Thread-safe."""

    def __init__(self, access: VolumeAccess, copies: VolumeCopies) -> None:
        self._access = access
        self._copies = copies

    # Files in and out

    def stat(self, name: str, path: str) -> PathStat:
        """Raises NoSuchVolume, and NotFound naming the path."""
        parse_requested_path(path)
        with self._access.open(name) as opened:
            view = View(opened.fd, foreign=opened.foreign)
            if view.foreign:
                return ArchiveChild(view, path, f"volume {name}").stat()
            return stat_in(view, path, f"volume {name}")

    def get(self, name: str, path: str, out: BinaryIO, tell: Callable[[PathStat], None] = lambda _: None) -> None:
        """The file or directory as a tar, its members named from the last part of `path`; `tell` as for containers."""
        parse_requested_path(path)
        with self._access.open(name) as opened:
            view = View(opened.fd, foreign=opened.foreign)
            if view.foreign:
                ArchiveChild(view, path, f"volume {name}").get(out, tell)
            else:
                get_from(view, path, f"volume {name}", out, tell)

    def put(self, name: str, path: str, archive_fd: int, no_overwrite_dir_non_dir: bool) -> None:
        """Unpack an archive that arrives through a pipe into the directory `path`, links followed. Raises Malformed for
        an archive that is broken or hostile; what came before that in it stays unpacked."""
        wanted = parse_requested_path(path)
        with (
            self._access.open(name) as opened,
            found_path(View(opened.fd), wanted, path, f"volume {name}", extracting=True) as found,
        ):
            if opened.is_read_only:
                raise Malformed("", "mounted volume is marked read-only")
            if self._access.vanishes(opened):
                why = "it is in memory and nobody uses it: what is written would be gone at once"
                raise Conflict(f"copying into volume {name}", why, "Start a container that uses it first")
            base = tuple(part for part in found.path.split("/") if part)
            options = Options(keep_kinds=no_overwrite_dir_non_dir, base=base)
            with _failing(f"copying into volume {name}"):
                unpack_aside(archive_fd, b"", found.root_fd, options)

    # Whole volumes

    def export(self, name: str, out: BinaryIO) -> None:
        """The volume's data as a tar that any tar program reads, described by a comment. In use or not: each file is
        packed as it is found. What is mounted below it, and sockets, are not in it."""
        with self._access.open(name) as opened, _failing(f"exporting volume {name}"):
            export_aside(opened.fd, out.fileno(), render_description(describe_volume(opened.volume)))

    def import_volume(self, wish: ImportWish, archive_fd: int) -> Imported:
        """A volume from an archive that arrives through a pipe: one of `export`, or any tar. There is no volume, and
        nothing left of it, when the archive is cut off, broken or hostile."""
        comment, start = read_comment(archive_fd)
        described = parse_description(comment)
        new, left_out = self._describe_new(wish, described)
        subject = f"import volume {new.name}".rstrip()
        if not new.name:
            raise Malformed(subject, "the archive does not say the volume's name", "Give one: orlop volume import NAME")
        volume, arrived = self._copies.make(
            new, lambda fd: unpack_aside(archive_fd, start, fd, Options(exact=True)), subject
        )
        omitted = tuple(key for key in described.omitted_options if key not in wish.options)
        return Imported(volume, arrived, left_out, omitted)

    def _describe_new(self, wish: ImportWish, described: VolumeDescription) -> tuple[NewVolume, tuple[str, ...]]:
        labels = {key: value for key, value in (described.labels or {}).items() if key != ANONYMOUS_LABEL}
        options = described.options or {}
        own = self._copies.own_options(described.driver, options) if wish.driver in ("", described.driver) else {}
        left_out = tuple(key for key in options if key not in own and key not in wish.options)
        new = NewVolume(
            wish.name or described.name,
            wish.driver or described.driver,
            {**own, **wish.options} or None,
            {**labels, **wish.labels} or (None if described.labels is None else {}),
            asked_for=frozenset(wish.options),
        )
        return new, left_out


@contextmanager
def _failing(subject: str) -> Iterator[None]:
    """Trouble of the disk, said about what was being done; a client that has gone stays what it is."""
    try:
        yield
    except ConnectionError:
        raise
    except TimeoutError as error:
        raise Unavailable(subject, "its storage gave no answer", WAY_OUT) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        hint = "Free some space on that disk and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise HostFailure(subject, f"{error.strerror or os.strerror(error.errno or 0)}{where}", hint) from error
