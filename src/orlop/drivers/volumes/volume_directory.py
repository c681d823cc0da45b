"""The tree of all volumes of a driver, and the directory of one: opened by descriptor, files in it read and written so.

The layout is drawn in orlop.drivers.volumes.local; others have theirs like it. Nothing here knows what a volume's
options mean.
"""

import errno
import fcntl
import logging
import os
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orlop.errors import ActiveMounts, Conflict, NoSuchVolume
from orlop.kernel.mount_watch import MountWatch
from orlop.kernel.mounts import mounts_at_or_below
from orlop.kernel.project_quota import KernelProjectQuota, ProjectQuota
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

DATA, OPTIONS, METADATA, RETIRED_METADATA = "_data", "opts.json", "orlop.json", "retired.json"
CHANGE = "change.json"
RETIRED, PURGING, STAGING = ".retired", ".purging", ".staging"
DATA_MODE = 0o755

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_METADATA = 4 << 20
_CHUNK = 64 << 10
_UNFINISHED = ".new"

Resolve = Callable[[Mapping[str, str]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class VolumeDirectory:
    """One volume's own directory, open. `path` is where it is now: among the volumes, or out of sight."""

    name: str
    path: Path
    fd: int
    projects: ProjectQuota = KernelProjectQuota()
    resolve_secrets: Resolve = dict  # options with the values of the secrets that they name
    mounts: MountWatch | None = None  # of what may be mounted in it; None where that has to be asked for certain

    @property
    def data_path(self) -> Path:
        return self.path / DATA

    def may_have_mounts(self) -> bool:
        """False only where nothing is mounted at or below it. Cheap: for what is asked of many volumes."""
        if self.mounts is None:
            return True
        path = str(self.path)
        # Mostly nothing is mounted below any of them: the question that is the same for all costs the least.
        return self.mounts.may_show(f"{os.path.dirname(path)}/") and self.mounts.may_show(path)  # noqa: PTH120


class VolumesRoot:
    """Knows every place that volumes are in. Thread-safe."""

    def __init__(self, path: Path, projects: ProjectQuota | None = None, resolve_secrets: Resolve = dict) -> None:
        """Makes what is missing of the tree. Raises OSError where the disk is read-only or not ours."""
        self._projects = projects or KernelProjectQuota()
        self.resolve_secrets = resolve_secrets
        path.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()
        self.fd = os.open(self.path, _DIRECTORY)
        self._close = weakref.finalize(self, os.close, self.fd)  # whoever drops us unclosed leaves no descriptor
        self.mounts = MountWatch()
        for folder in (RETIRED, PURGING, STAGING):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700, dir_fd=self.fd)
        if stat.S_IMODE(os.fstat(self.fd).st_mode) != 0o701:
            os.fchmod(self.fd, 0o701)

    @property
    def has_project_quota(self) -> bool:
        return self._projects.is_enforced(self.fd)

    def close(self) -> None:
        self.mounts.close()
        self._close()

    @contextmanager
    def open(self, name: str, exclusive: bool = False) -> Iterator[VolumeDirectory]:
        """The volume's own directory; `exclusive`: for us alone among those who ask for that, until we close it or
        die. Raises NoSuchVolume, Conflict where something else has its name."""
        while True:
            fd = self._open(name)
            try:
                if not exclusive or self._lock(name, fd):
                    path, secrets = self.path / name, self.resolve_secrets
                    yield VolumeDirectory(name, path, fd, self._projects, secrets, self.mounts)
                    return
            finally:
                os.close(fd)

    def _open(self, name: str) -> int:
        if "/" in name or name in ("", ".", "..") or name.startswith("."):
            raise NoSuchVolume(name)
        try:
            return os.open(name, _DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError:
            raise NoSuchVolume(name) from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                why = f"{self.path / name} is not a directory"
                raise Conflict(f"volume {name}", why, "Move it out of the way") from error
            if error.errno == errno.ENAMETOOLONG:
                raise NoSuchVolume(name) from None
            raise

    def _lock(self, name: str, fd: int) -> bool:
        """Whether it still is the volume of that name, once we have it for ourselves."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            return True  # some network file systems lock no directories
        try:
            return os.path.samestat(os.lstat(name, dir_fd=self.fd), os.fstat(fd))
        except FileNotFoundError:
            return False

    def names(self) -> list[str]:
        """What may be a volume. Read by a descriptor of its own: two that list with one would share the position, and
        btrfs shows nothing that is newer than the descriptor."""
        with entered(self.fd, ".") as fd:
            return sorted(name for name in os.listdir(fd) if not name.startswith("."))

    @contextmanager
    def open_within(self, folder: str, entry: str, name: str = "") -> Iterator[VolumeDirectory]:
        """What is, or becomes, a volume's own directory in RETIRED, PURGING or STAGING; messages call it `name`."""
        with self.folder(folder) as folder_fd, entered(folder_fd, entry) as fd:
            path = self.path / folder / entry
            yield VolumeDirectory(name or entry, path, fd, self._projects, self.resolve_secrets)

    @contextmanager
    def folder(self, name: str) -> Iterator[int]:
        """One of RETIRED, PURGING, STAGING."""
        with entered(self.fd, name) as fd:
            yield fd


def make_data_directory(volume: VolumeDirectory) -> None:
    """The umask was in mkdir's way, so the mode is set again."""
    os.mkdir(DATA, DATA_MODE, dir_fd=volume.fd)
    os.chmod(DATA, DATA_MODE, dir_fd=volume.fd)


def remove_data_directory(volume: VolumeDirectory) -> None:
    """If it is empty; gone already is success."""
    with suppress(FileNotFoundError):
        os.rmdir(DATA, dir_fd=volume.fd)


@contextmanager
def entered(directory_fd: int, name: str) -> Iterator[int]:
    fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def refuse_mounts(subject: str, path: Path) -> None:
    below = mounts_at_or_below(path)
    if below:
        point = below[0].mount_point
        hint = f"Unmount it first: umount {point}"
        raise ActiveMounts(subject, f"volume has active mounts: {point} is mounted", hint)


@contextmanager
def room_permitting(name: str) -> Iterator[None]:
    """A full disk must not keep a volume from being removed or from coming back; the journal has the same record."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.warning("volume %s: no room for the record beside its data", name)


def exists(directory_fd: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return False
    return True


def write_file(directory_fd: int, name: str, text: str, sync: bool = False) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
    try:
        view = memoryview(text.encode())
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(directory_fd: int, name: str, text: str, sync: bool = True) -> None:
    """The file holds all of `text` or what it held before, whatever happens; durable when this returns (without `sync`:
    whatever happens but a power cut). The caller has the directory for itself: a crash leaves at most one file, which
    the next call or `sweep` takes."""
    temporary = f".{name}{_UNFINISHED}"
    try:
        write_file(directory_fd, temporary, text, sync=sync)
        os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory_fd)
        raise
    if sync:
        os.fsync(directory_fd)


def sweep(directory_fd: int, entries: Iterable[str]) -> None:
    """Remove what a crash left of writing files."""
    for entry in entries:
        if entry.startswith(".") and entry.endswith(_UNFINISHED):
            os.unlink(entry, dir_fd=directory_fd)


def read_file(directory_fd: int, name: str) -> str:
    """The file's text; "" when there is none. Never blocks on a fifo, never follows a link. Raises OSError."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    except FileNotFoundError:
        return ""
    parts, size = [], 0
    try:
        while part := os.read(fd, _CHUNK):
            parts.append(part)
            size += len(part)
            if size > _MOST_METADATA:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", errors="replace")
