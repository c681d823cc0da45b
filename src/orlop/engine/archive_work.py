"""What is done in a container's or a volume's files, given a view of them: look, pack, unpack.

It is done by the daemon itself or, where the view shows somebody else's storage, by a process that can be left behind
(engine.archive_child).
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from orlop.archive.pack import PackOptions, pack_opened
from orlop.archive.reader import TarReader
from orlop.archive.unpack import Options, unpack
from orlop.engine.accounts import find_account
from orlop.engine.archive_paths import RequestedPath, parse_requested_path
from orlop.engine.views import Found, View
from orlop.errors import Conflict, HostFailure, Malformed, NotFound
from orlop.model.mount import Mount, MountKind
from orlop.model.value import dataclass
from orlop.planning.mounts import is_below_read_only, nearest_mount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class PathStat:
    name: str
    size_bytes: int
    mode: int  # st_mode as stat(2) gives it
    mtime_ns: int
    link_target: str


@dataclass(frozen=True, slots=True)
class Unpacking:
    """How an upload is to be unpacked."""

    archive: Path  # not compressed
    keep_kinds: bool  # refuse to replace a directory by something else, and the other way round
    user: str  # to whom everything is to belong; "" leaves owners as they are in the archive
    mounts: Sequence[Mount]  # of the container: the deepest one above the place says whether it may be written to
    readonly_rootfs: bool
    shows_memory: bool  # what is mounted from memory is there: the container runs


def stat_in(view: View, path: str, where: str) -> PathStat:
    """`where` says whose path it is. Raises NotFound naming the path."""
    wanted = parse_requested_path(path)
    with found_path(view, wanted, path, where) as found:
        return describe_path(view, wanted, found)


def get_from(view: View, path: str, where: str, out: BinaryIO, tell: Callable[[PathStat], None]) -> None:
    wanted = parse_requested_path(path)
    with found_path(view, wanted, path, where) as found:
        tell(describe_path(view, wanted, found))
        # Without holes and with whole seconds, as Docker does: any tar program may be at the other end.
        pack_opened(found.fd, out, wanted.name, PackOptions(sparse=False, passed_over=view.passed_over))


def put_into(view: View, path: str, where: str, upload: Unpacking) -> None:
    wanted = parse_requested_path(path)
    with TarReader(upload.archive) as reader, found_path(view, wanted, path, where, extracting=True) as found:
        _refuse_read_only(upload, found.container_path)
        _refuse_memory(upload, found.container_path)
        owner = None
        if upload.user:
            account = find_account(view.root_fd, upload.user)
            owner = (account.uid, account.gid)
        base = tuple(part for part in found.path.split("/") if part)
        unpack(reader, found.root_fd, Options(keep_kinds=upload.keep_kinds, owner=owner, base=base))


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


def _refuse_read_only(upload: Unpacking, path: str) -> None:
    """The deepest mount that `path` is on decides; outside of all mounts the root file system does."""
    if is_below_read_only(upload.mounts, path, upload.readonly_rootfs):
        is_mounted = is_below_read_only(upload.mounts, path, readonly_rootfs=False)
        raise Malformed("", f"{'mounted volume' if is_mounted else 'container rootfs'} is marked read-only")


def _refuse_memory(upload: Unpacking, path: str) -> None:
    """What is copied to the place of a tmpfs while nothing runs would lie under it from the next start on: there, and
    nowhere to be seen."""
    mount = nearest_mount(upload.mounts, path)
    if mount is not None and mount.kind is MountKind.TMPFS and not upload.shows_memory:
        why = f"{mount.destination} is a tmpfs, which is there only while the container runs"
        raise Conflict(f"copying to {path}", why, "Start the container first")
