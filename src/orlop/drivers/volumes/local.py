"""The local driver: a volume is a directory of this host.

    <root>/                        0701: others may pass through, not look around
    <root>/<name>/                 0701, one volume
    <root>/<name>/_data/           the user's bytes; owner and mode are the user's business once it is made
    <root>/<name>/opts.json        0600, Docker's format; only where the volume has options
    <root>/<name>/orlop.json       0600, the engine's record of it, so that a lost journal can be rebuilt
    <root>/<name>/uses/            who has a volume with mount options attached (local_mount)
    <root>/.staging/<token>/       0700, a volume or a copy-up in the making (local_staging)
    <root>/.retired/<id>/          0700, a removed volume, whole; retired.json in it says what it was
    <root>/.purging/<id>/          0700, given up; its bytes are being deleted

The daemon alone writes here, apart from what lies below `_data`, which belongs to containers and may change at any
instant. So nothing below `_data` is ever reached by a path: a directory is opened by its parent's descriptor,
never through a link, and `_data` must be a real directory, or the volume is broken and says so.
"""

import errno
import json
import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orlop.drivers.volumes import local_staging
from orlop.drivers.volumes.driver import Measurement, StoredVolume
from orlop.drivers.volumes.local_mount import USES, is_attached, mount_for_use, unmount_for_use
from orlop.drivers.volumes.local_rules import MountOptions, check_name, parse_options
from orlop.drivers.volumes.local_usage import measure
from orlop.errors import Conflict, HostFailure, NoSuchVolume, NotFound, OrlopError, Unsupported
from orlop.kernel.mount_watch import MountWatch
from orlop.kernel.mounts import MountEntry, mounts_at_or_below, read_mounts
from orlop.store.files import remove_tree, sync_directory, write_durably

log = logging.getLogger(__name__)

DATA, OPTIONS, METADATA, RETIRED_METADATA = "_data", "opts.json", "orlop.json", "retired.json"
RETIRED, PURGING, STAGING = ".retired", ".purging", ".staging"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_METADATA = 4 << 20
DATA_MODE = 0o755


class LocalVolumes:
    name = "local"
    scope = "local"

    def __init__(self, root: Path) -> None:
        """Makes what is missing of the tree. Raises OSError where the disk is read-only or not ours."""
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()
        self._fd = os.open(self.root, _DIRECTORY)
        self._mounts = MountWatch()
        self._deleting: set[str] = set()
        self._deleting_lock = threading.Lock()
        self._has_one_log = _file_system_type(self._fd) in ("ext4", "xfs")
        for folder in (RETIRED, PURGING, STAGING):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700, dir_fd=self._fd)
        if stat.S_IMODE(os.fstat(self._fd).st_mode) != 0o701:
            os.fchmod(self._fd, 0o701)

    def close(self) -> None:
        self._mounts.close()
        os.close(self._fd)

    # Create and find

    def check(self, name: str, options: Mapping[str, str]) -> None:
        check_name(name)
        parse_options(name, options)

    def create(self, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        check_name(name)
        wanted = parse_options(name, options)
        if _exists(self._fd, name):
            return self._adopt(name)
        token = f"new-{secrets.token_hex(8)}"
        try:
            with self._folder(STAGING) as staging_fd:
                self._build(staging_fd, token, wanted if options else None, metadata)
                # rename(2) replaces nothing but an empty directory, and a volume's is never empty.
                os.rename(token, name, src_dir_fd=staging_fd, dst_dir_fd=self._fd)
        except BaseException as error:
            self.unstage(token)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return self._adopt(name)
            raise
        return self.get(name)

    def _build(self, staging_fd: int, token: str, options: MountOptions | None, metadata: str) -> None:
        """A whole volume, out of sight. The umask was in mkdir's way, so modes are set again."""
        os.mkdir(token, 0o701, dir_fd=staging_fd)
        with _entered(staging_fd, token) as fd:
            os.mkdir(DATA, DATA_MODE, dir_fd=fd)
            os.chmod(DATA, DATA_MODE, dir_fd=fd)
            os.fchmod(fd, 0o701)
            # Not synced on its own: the journal has the same, and the disk gets it within seconds.
            _write(fd, METADATA, metadata)
            if options:
                _write(fd, OPTIONS, _render_options(options), sync=True)

    def _adopt(self, name: str) -> StoredVolume:
        found = self.get(name)
        if found.problem:
            raise Conflict(f"create {name}", f"{self.root / name} is there already, but {found.problem}")
        return found

    def discard(self, name: str) -> None:
        try:
            with self._open(name) as fd:
                try:
                    os.rmdir(DATA, dir_fd=fd)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    raise Conflict(f"discarding volume {name}", f"its data directory: {error.strerror}") from error
                with suppress(FileNotFoundError):
                    os.rmdir(USES, dir_fd=fd)
                for file in (METADATA, OPTIONS, RETIRED_METADATA):
                    with suppress(FileNotFoundError):
                        os.unlink(file, dir_fd=fd)
        except NotFound:
            return
        os.rmdir(name, dir_fd=self._fd)
        os.fsync(self._fd)

    def get(self, name: str) -> StoredVolume:
        with self._open(name) as fd:
            return self._stored(name, fd)

    def list_volumes(self) -> Sequence[StoredVolume]:
        found = []
        with os.scandir(self._fd) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
        for name in sorted(names):
            with suppress(OrlopError, FileNotFoundError), self._open(name) as fd:
                if not set(os.listdir(fd)).isdisjoint((DATA, OPTIONS, METADATA)):
                    found.append(self._stored(name, fd))
        return found

    def metadata(self, name: str) -> str:
        with self._open(name) as fd:
            text = _read(fd, METADATA)
            if text:
                return text
            with suppress(HostFailure):
                options = self._options(name, fd)
                given = {"type": options.fs_type, "device": options.device, "o": options.options}
                chosen = {key: value for key, value in given.items() if value}
                return json.dumps({"options": chosen}) if chosen else ""
            return ""

    def _stored(self, name: str, fd: int) -> StoredVolume:
        # ctime, as Docker has it: the mtime of the directory changes with every use.
        created = os.fstat(fd).st_ctime_ns
        return StoredVolume(name, str(self.root / name / DATA), created, self._problem(name, fd))

    def _problem(self, name: str, fd: int) -> str:
        try:
            # The entry's type, not a stat of what may be mounted there, whose server may not answer.
            with os.scandir(fd) as entries:
                found = next((entry for entry in entries if entry.name == DATA), None)
                is_directory = found is not None and found.is_dir(follow_symlinks=False)
            if found is None:
                return f"its data directory {self.root / name / DATA} is missing"
            if not is_directory:
                return f"{self.root / name / DATA} is not a directory"
            self._options(name, fd)
        except HostFailure as error:
            return error.why
        return ""

    def _options(self, name: str, fd: int) -> MountOptions:
        """Raises HostFailure when opts.json says nothing that makes sense: only this volume is then broken, and it
        is not taken for a plain directory, where a container's bytes would land on the wrong disk."""
        if not _exists(fd, OPTIONS):
            return MountOptions()
        path = self.root / name / OPTIONS
        try:
            found = json.loads(_read(fd, OPTIONS))
            if found is None:
                return MountOptions()
            quota = found.get("Quota") or {}
            fs_type, device, words = (found.get(key) or "" for key in ("MountType", "MountDevice", "MountOpts"))
            if not all(isinstance(value, str) for value in (fs_type, device, words)):
                raise ValueError("an option is not a text")
            return MountOptions(fs_type, device, words, int(quota.get("Size") or 0))
        except (ValueError, AttributeError, TypeError, OSError) as error:
            raise HostFailure(f"volume {name}", f"{path} is unreadable: {error}", "Restore that file") from error

    # Use

    def attach(self, name: str, use_id: str) -> Path:
        with self._open(name) as fd:
            problem = self._problem(name, fd)
            if problem:
                hint = "Put it back from a backup, or remove the volume and create it again"
                raise HostFailure(f"attaching volume {name}", problem, hint)
            options = self._options(name, fd)
            path = self.root / name / DATA
            if options.needs_mount:
                mount_for_use(fd, path, options, use_id)
            return path

    def detach(self, name: str, use_id: str) -> None:
        with suppress(NotFound), self._open(name) as fd:
            unmount_for_use(fd, self.root / name / DATA, use_id)

    def usage_bytes(self, name: str) -> int:
        try:
            found = self.measure(name, stop=lambda: False)
        except OSError:
            return -1
        return found.size_bytes if found else -1

    def measure(self, name: str, stop: Callable[[], bool]) -> Measurement | None:
        with self._open(name) as fd:
            if _exists(fd, OPTIONS):
                return None  # what is mounted there is not ours to walk, and may not answer
            with _entered(fd, DATA) as data_fd:
                return measure(data_fd, stop)

    def counted(self, name: str) -> Measurement | None:
        return None

    # Copy-up

    def is_empty(self, name: str) -> bool:
        with self._open(name) as fd:
            return _exists(fd, OPTIONS) or local_staging.is_data_empty(fd)

    def stage(self, name: str, token: str) -> Path:
        with self._open(name) as fd, self._folder(STAGING) as staging_fd:
            if self._options(name, fd).needs_mount or mounts_at_or_below(self.root / name):
                raise Unsupported(f"populate {name}", "something is mounted in the volume")
            if not local_staging.is_data_empty(fd):
                raise Conflict(f"populate {name}", "the volume is not empty")
            os.mkdir(token, 0o700, dir_fd=staging_fd)
        return self.root / STAGING / token

    def publish(self, name: str, token: str, in_use: bool) -> None:
        with self._open(name) as fd, self._folder(STAGING) as staging_fd:
            if not in_use:
                local_staging.put_in_place(name, fd, staging_fd, token)
                return
            local_staging.move_entries(fd, staging_fd, token)
        self.unstage(token)

    def unstage(self, token: str) -> None:
        remove_tree(self.root / STAGING / token)

    def list_staged(self) -> Sequence[str]:
        return sorted(os.listdir(self.root / STAGING))

    # Retire, restore, purge

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        with self._folder(RETIRED) as retired_fd:
            try:
                with self._open(name) as fd:
                    if is_attached(fd, self.root / name / DATA):
                        raise Conflict(f"remove {name}", "volume has active mounts")
                    # Harmless where it errs: retiring destroys nothing, and the purge asks for certain.
                    if self._mounts.may_show(str(self.root / name)):
                        self._refuse_mounts(f"remove {name}", self.root / name)
                    with _room_permitting(name):
                        _write(fd, RETIRED_METADATA, metadata)
            except NotFound:
                if _exists(retired_fd, retired_id):
                    return
                raise
            os.rename(name, retired_id, src_dir_fd=self._fd, dst_dir_fd=retired_fd)

    def settle(self) -> None:
        """One fsync where the file system keeps one log in the order of things (ext4, XFS): syncing any directory that
        a rename touched then syncs everything before it."""
        os.fsync(self._fd)
        if not self._has_one_log:
            sync_directory(self.root / RETIRED)

    def restore(self, retired_id: str, name: str, metadata: str) -> StoredVolume:
        check_name(name)
        with self._folder(RETIRED) as retired_fd:
            if not _exists(retired_fd, retired_id):
                return self._restored(retired_id, name)
            if _exists(self._fd, name):
                raise Conflict(f"restore {name}", f"{self.root / name} is there already", "Choose another name")
            with _room_permitting(name):
                write_durably(self.root / RETIRED / retired_id / METADATA, metadata.encode())
            # Between the look and the rename nobody can lose a volume: rename(2) replaces only an empty directory.
            os.rename(retired_id, name, src_dir_fd=retired_fd, dst_dir_fd=self._fd)
        self.settle()
        return self._restored(retired_id, name)

    def _restored(self, retired_id: str, name: str) -> StoredVolume:
        try:
            with self._open(name) as fd:
                with suppress(FileNotFoundError):
                    os.unlink(RETIRED_METADATA, dir_fd=fd)
                return self._stored(name, fd)
        except NoSuchVolume:
            raise NotFound(f"restore {name}", f"nothing is retired under the id {retired_id}") from None

    def purge(self, retired_id: str) -> None:
        with self._folder(RETIRED) as retired_fd, self._folder(PURGING) as purging_fd:
            if not _exists(retired_fd, retired_id):
                return
            self._refuse_mounts(f"purge {retired_id}", self.root / RETIRED / retired_id)
            os.rename(retired_id, retired_id, src_dir_fd=retired_fd, dst_dir_fd=purging_fd)
            os.fsync(purging_fd)
            os.fsync(retired_fd)

    def cleanup(self) -> None:
        first: Exception | None = None
        for retired_id in sorted(os.listdir(self.root / PURGING)):
            with self._deleting_lock:
                if retired_id in self._deleting:
                    continue  # another thread is at it
                self._deleting.add(retired_id)
            try:
                remove_tree(self.root / PURGING / retired_id)
            except (OrlopError, OSError) as error:
                log.error("deleting purged volume %s: %s", retired_id, error)
                first = first or error
            finally:
                with self._deleting_lock:
                    self._deleting.discard(retired_id)
        if first:
            raise first

    def list_retired(self) -> Sequence[str]:
        with self._folder(RETIRED) as fd, os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def retired_metadata(self, retired_id: str) -> str:
        with self._folder(RETIRED) as retired_fd, _entered(retired_fd, retired_id) as fd:
            return _read(fd, RETIRED_METADATA)

    # Within

    def _refuse_mounts(self, subject: str, path: Path) -> None:
        below: list[MountEntry] = mounts_at_or_below(path)
        if below:
            point = below[0].mount_point
            raise Conflict(
                subject, f"volume has active mounts: {point} is mounted", f"Unmount it first: umount {point}"
            )

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        """The volume's own directory."""
        if "/" in name or name in ("", ".", "..") or name.startswith("."):
            raise NoSuchVolume(name)
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            raise NoSuchVolume(name) from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                why = f"{self.root / name} is not a directory"
                raise Conflict(f"volume {name}", why, "Move it out of the way") from error
            if error.errno == errno.ENAMETOOLONG:
                raise NoSuchVolume(name) from None
            raise
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _folder(self, name: str) -> Iterator[int]:
        with _entered(self._fd, name) as fd:
            yield fd


@contextmanager
def _entered(directory_fd: int, name: str) -> Iterator[int]:
    fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _file_system_type(fd: int) -> str:
    device = os.fstat(fd).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((entry.fs_type for entry in read_mounts() if entry.device == number), "")


@contextmanager
def _room_permitting(name: str) -> Iterator[None]:
    """A full disk must not keep a volume from being removed or from coming back; the journal has the same record."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.warning("volume %s: no room for the record beside its data", name)


def _exists(directory_fd: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return False
    return True


def _write(directory_fd: int, name: str, text: str, sync: bool = False) -> None:
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


def _read(directory_fd: int, name: str) -> str:
    """The file's text; "" when there is none. Never blocks on a fifo, never follows a link."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    except FileNotFoundError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(_MOST_METADATA).decode("utf-8", errors="replace")


def _render_options(options: MountOptions) -> str:
    record = {
        "MountType": options.fs_type,
        "MountOpts": options.options,
        "MountDevice": options.device,
        "Quota": {"Size": options.quota_bytes},
    }
    return json.dumps(record)
