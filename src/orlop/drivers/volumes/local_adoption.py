"""Taking over a directory that another engine keeps as a volume: one rename(2), no byte copied.

    <place>/<name>/_data     --adopt-->   <root>/<new name>/_data
                             <--give back--

What Orlop keeps beside the data is written before the rename, where the other engine does not look at it: so from that
instant on the directory says by itself whose it is, and a crash before it has changed nothing that counts.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orlop.drivers.volumes.local_record import render_options
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.volume_directory import (
    CHANGE,
    DATA,
    METADATA,
    OPTIONS,
    RETIRED_METADATA,
    VolumesRoot,
    entered,
    exists,
    read_file,
    refuse_mounts,
    replace_file,
    sweep,
)
from orlop.errors import Conflict, NoSuchVolume, NotFound, Unsupported
from orlop.kernel.openat2 import open_without_links
from orlop.kernel.rename import rename_if_absent

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = (METADATA, CHANGE, RETIRED_METADATA)  # there when it was handed back once
_ELSEWHERE = "it is on another file system, or another mount of it, from which no directory can be moved"


def why_not(root: VolumesRoot, source: Path) -> str:
    """Why a directory cannot be taken over by a rename; "" when it can."""
    with _opened(source.parent) as parent_fd:
        return "" if _mount_of(parent_fd) == _mount_of(root.fd) else _ELSEWHERE


def adopt(root: VolumesRoot, source: Path, name: str, options: MountOptions, keep_options: bool, metadata: str) -> None:
    subject = f"adopt {source}"
    with _opened(source.parent) as parent_fd:
        if not exists(parent_fd, source.name):
            if not _is_here(root, name, metadata):
                raise NotFound(subject, "it is not there")
            return
        if exists(root.fd, name):
            raise Conflict(subject, f"{root.path / name} is there already", "Choose another name")
        refuse_mounts(subject, source)
        if _mount_of(parent_fd) != _mount_of(root.fd):
            raise Unsupported(subject, _ELSEWHERE, "Copy it: --copy")
        with entered(parent_fd, source.name) as fd, _taken_from_its_owner(fd):
            sweep(fd, os.listdir(fd))
            _require_only_data(subject, fd)
            _describe(fd, options if keep_options else None, metadata)
            try:
                rename_if_absent(parent_fd, source.name, root.fd, name)
            except OSError as error:
                os.unlink(METADATA, dir_fd=fd)
                if isinstance(error, FileExistsError):
                    raise Conflict(subject, f"{root.path / name} is there already", "Choose another name") from error
                if error.errno == errno.EXDEV:
                    raise Unsupported(subject, _ELSEWHERE, "Copy it: --copy") from error
                raise
        os.fsync(root.fd)
        os.fsync(parent_fd)


def give_back(root: VolumesRoot, name: str, source: Path) -> None:
    """The way back of `adopt`. Gone already is success."""
    with _opened(source.parent) as parent_fd:
        try:
            rename_if_absent(root.fd, name, parent_fd, source.name)
        except FileNotFoundError:
            return
        with entered(parent_fd, source.name) as fd, suppress(FileNotFoundError):
            os.unlink(METADATA, dir_fd=fd)
        os.fsync(parent_fd)
        os.fsync(root.fd)


@contextmanager
def _taken_from_its_owner(fd: int) -> Iterator[None]:
    """The volume's own directory is the daemon's from here on, unless the block fails: nobody puts anything beside the
    data that we would take for ours. What is in `_data` stays its owners'."""
    before = os.fstat(fd)
    os.fchown(fd, os.geteuid(), os.getegid())
    os.fchmod(fd, 0o701)
    try:
        yield
    except BaseException:
        os.fchown(fd, before.st_uid, before.st_gid)
        os.fchmod(fd, stat.S_IMODE(before.st_mode))
        raise


def _require_only_data(subject: str, fd: int) -> None:
    with os.scandir(fd) as entries:
        found = {entry.name: entry for entry in entries}
    data = found.pop(DATA, None)
    if data is None or not data.is_dir(follow_symlinks=False):
        raise Conflict(subject, f"its {DATA} is no directory")
    strange = sorted(set(found) - {OPTIONS, *_OURS})
    if strange:
        raise Conflict(
            subject, f"there is {strange[0]!r} beside its {DATA}", "Move that away; or copy the data: --copy"
        )


def _describe(fd: int, options: MountOptions | None, metadata: str) -> None:
    """Everything beside the data as of a volume of our own, durably."""
    for left in _OURS[1:]:
        with suppress(FileNotFoundError):
            os.unlink(left, dir_fd=fd)
    if options is None:
        with suppress(FileNotFoundError):
            os.unlink(OPTIONS, dir_fd=fd)
    else:
        replace_file(fd, OPTIONS, render_options(options))
    replace_file(fd, METADATA, metadata)


def _is_here(root: VolumesRoot, name: str, metadata: str) -> bool:
    try:
        with root.open(name) as volume:
            return read_file(volume.fd, METADATA) == metadata
    except NoSuchVolume:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A directory of somebody else's, reached through no link: it may belong to a user who puts one there meanwhile."""
    fd = open_without_links(str(path), _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _mount_of(fd: int) -> tuple[int, str]:
    """rename(2) asks for more than the same file system: for the same mount of it."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    mount = next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")
    return os.fstat(fd).st_dev, mount
