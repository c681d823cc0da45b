"""Files in and out of containers (`docker cp`), running or stopped.

An archive is unpacked and packed by this process through descriptors beneath the container's root: no program of the
container takes part, and no library is loaded meanwhile. What is compressed is decompressed before the container is
looked at. The container is not locked while a client reads: it may be started, stopped and inspected.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orlop.archive.compression import Compression, decompress, detect
from orlop.archive.pack import PackOptions, pack_opened
from orlop.archive.reader import TarReader
from orlop.archive.unpack import Options, unpack
from orlop.engine.accounts import find_account
from orlop.engine.archive_paths import RequestedPath, parse_requested_path
from orlop.engine.views import Found, View, Views
from orlop.errors import Conflict, HostFailure, Malformed, NotFound
from orlop.model.container import Container
from orlop.model.mount import MountKind
from orlop.planning.mounts import is_below_read_only, nearest_mount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

Announce = Callable[[Container, str], None]  # publishes a container's event


@dataclass(frozen=True, slots=True)
class PathStat:
    name: str
    size_bytes: int
    mode: int  # st_mode as stat(2) gives it
    mtime_ns: int
    link_target: str


class Archives:
    """Thread-safe. `scratch` is a folder for decompressed uploads; what a crash leaves there is somebody's to empty."""

    def __init__(self, find: Callable[[str], Container], views: Views, scratch: Path, announce: Announce) -> None:
        self._find = find
        self._views = views
        self._scratch = scratch
        self._announce = announce

    def stat(self, reference: str, path: str) -> PathStat:
        """Raises NoSuchContainer, and NotFound naming the path."""
        wanted = parse_requested_path(path)
        container = self._find(reference)
        with self._views.open(container) as view, found_path(view, wanted, path, _named(reference)) as found:
            return describe_path(view, wanted, found)

    def get(self, reference: str, path: str, out: BinaryIO, tell: Callable[[PathStat], None] = lambda _: None) -> None:
        """The file or directory as a tar, its members named from the last part of `path`. Before the first byte is
        written, `tell` is given what `stat` would say, or what it would raise is raised."""
        wanted = parse_requested_path(path)
        container = self._find(reference)
        with self._views.open(container) as view, found_path(view, wanted, path, _named(reference)) as found:
            tell(describe_path(view, wanted, found))
            self._announce(container, "archive-path")
            # Without holes and with whole seconds, as Docker does: any tar program may be at the other end.
            pack_opened(found.fd, out, wanted.name, PackOptions(sparse=False, passed_over=view.passed_over))

    def put(self, reference: str, path: str, archive: Path, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool) -> None:
        """Unpack an archive into the directory `path`, links followed. With `copy_uid_gid` everything belongs to the
        container's user. Raises Malformed for an archive that is broken or hostile; what came before that in it
        stays unpacked."""
        wanted = parse_requested_path(path)
        container = self._find(reference)
        with self._plain(archive) as plain, TarReader(plain) as reader, self._views.open(container, True) as view:
            with found_path(view, wanted, path, _named(reference), extracting=True) as found:
                _refuse_read_only(container, found.container_path)
                _refuse_memory(container, found.container_path)
                owner = None
                if copy_uid_gid and container.config.user:
                    account = find_account(view.root_fd, container.config.user)
                    owner = (account.uid, account.gid)
                base = tuple(part for part in found.path.split("/") if part)
                options = Options(keep_kinds=no_overwrite_dir_non_dir, owner=owner, base=base)
                unpack(reader, found.root_fd, options)
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


def _named(reference: str) -> str:
    return f"container {reference}"


@contextmanager
def found_path(view: View, wanted: RequestedPath, path: str, where: str, extracting: bool = False) -> Iterator[Found]:
    """What the client's path leads to, or Docker's words for why not; `where` says whose path it is."""
    follows = wanted.follows or extracting
    with ExitStack() as stack:
        try:
            opened = view.open(wanted.cleaned, _DIRECTORY if follows else os.O_PATH, follow_last=follows)
            found = stack.enter_context(opened)
        except FileNotFoundError as error:
            raise NotFound("", f"Could not find the file {path} in {where}") from error
        except NotADirectoryError as error:
            why = "extraction point is not a directory" if extracting else f"lstat {path}: not a directory"
            raise Malformed("", why) from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Malformed(path, "too many levels of symbolic links") from error
            if error.errno == errno.ENAMETOOLONG:
                raise Malformed(f"{path[:60]}...", "file name too long") from error
            raise HostFailure(path, error.strerror or str(error)) from error
        yield found


def describe_path(view: View, wanted: RequestedPath, found: Found) -> PathStat:
    details = os.fstat(found.fd)
    target = view.resolve(wanted.cleaned) if stat.S_ISLNK(details.st_mode) else ""
    return PathStat(wanted.name, details.st_size, details.st_mode, details.st_mtime_ns, target)


def _refuse_memory(container: Container, path: str) -> None:
    """What is copied to the place of a tmpfs while nothing runs would lie under it from the next start on: there, and
    nowhere to be seen."""
    mount = nearest_mount(container.mounts, path)
    if mount is not None and mount.kind is MountKind.TMPFS and not container.is_running:
        why = f"{mount.destination} is a tmpfs, which is there only while the container runs"
        raise Conflict(f"copying to {path}", why, f"Start it first: docker start {container.name}")


def _refuse_read_only(container: Container, path: str) -> None:
    """The deepest mount that `path` is on decides; outside of all mounts the root file system does."""
    if is_below_read_only(container.mounts, path, container.host.readonly_rootfs):
        is_mounted = is_below_read_only(container.mounts, path, readonly_rootfs=False)
        raise Malformed("", f"{'mounted volume' if is_mounted else 'container rootfs'} is marked read-only")
