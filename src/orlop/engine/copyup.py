"""Copy-up: an empty volume gets what the image has at the place it is mounted on.

    find the source, resolved inside the container's tree   not there: nothing to do
    volume empty?                                            no: nothing to do
    stage    the driver gives a directory out of sight; the tree is copied there and written to the disk
    publish  an operation of its own: what is staged becomes the content, in one step where nobody has it open

A crash before `publish` leaves a staged directory that the driver throws away at the next start, and an empty volume;
a crash within it is finished from the intent. So a volume is never left half filled. A volume whose driver has no
staging is filled in place, as Docker does.
"""

import errno
import logging
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orlop.drivers.volumes.abilities import Limited, Staging
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.executor import Executor
from orlop.engine.patience import require_storage
from orlop.errors import Conflict, HostFailure, OrlopError, Unavailable, Unsupported
from orlop.kernel.libc import sync_file_system
from orlop.kernel.openat2 import open_beneath, open_in_root
from orlop.model.sizes import describe_size
from orlop.model.volume import Volume
from orlop.planning.volumes import plan_publish
from orlop.store.files import remove_tree_at
from orlop.store.trees import copy_tree, count_entries

FEW_ENTRIES, FEW_BYTES = 50, 8 << 20

log = logging.getLogger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class CopyUp:
    def __init__(self, executor: Executor, drivers: Mapping[str, VolumeDriver]) -> None:
        self._executor = executor
        self._drivers = drivers

    def populate(self, volume: Volume, source_root: Path, source_path: str, in_use: bool, subpath: str = "") -> bool:
        """Whether anything was copied. The caller holds the volume's lock; `in_use` says that others may have the
        volume's directory open. A part of a volume is filled if that part is empty, in place: what is around it is in
        use and cannot be put in its place with it."""
        driver = self._drivers.get(volume.driver)
        if driver is None:
            return False
        source_fd = _open_source(source_root, source_path)
        if source_fd is None:
            return False
        try:
            if isinstance(driver, Staging) and not subpath:
                with suppress(Unsupported):
                    return self._staged(driver, volume, source_fd, in_use)
            return _in_place(driver, volume, source_fd, subpath)
        except (HostFailure, Unavailable) as error:
            if not error.subject.startswith("error while mounting volume"):
                raise
            raise type(error)(f"failed to populate volume: {error.subject}", error.why, error.hint) from error
        except OSError as error:
            why = f"{error.strerror or error}"
            hint = _room(driver, volume) if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise HostFailure(f"populate {volume.name}", f"failed to populate volume: {why}", hint) from error
        finally:
            os.close(source_fd)

    def discard_leftovers(self, kept: Collection[str] = ()) -> list[str]:
        """At start, after the executor has recovered: what is still staged belongs to no operation, but for the tokens
        that are kept."""
        reports = []
        for driver in self._drivers.values():
            if not isinstance(driver, Staging):
                continue
            try:
                for token in set(driver.list_staged()).difference(kept):
                    driver.unstage(token)
                    reports.append(f"threw away what a crash left of copy-up {token}")
            except (OrlopError, OSError) as error:
                reports.append(f"what a crash left of a copy-up stays: {error}")
        return reports

    def _staged(self, driver: Staging, volume: Volume, source_fd: int, in_use: bool) -> bool:
        token = secrets.token_hex(8)
        try:
            staged = driver.stage(volume.name, token)
        except Conflict:
            return False  # not empty
        try:
            with _opened(staged) as target_fd:
                copy_durably(source_fd, target_fd)
            self._executor.run(plan_publish(volume.name, volume.driver, token, in_use))
        except BaseException as error:
            self._unstage(driver, volume.name, token)
            if isinstance(error, Conflict):
                log.warning("%s; it keeps what it has", error)
                return False
            raise
        return True

    def _unstage(self, driver: Staging, name: str, token: str) -> None:
        try:
            driver.unstage(token)
        except (OrlopError, OSError) as error:
            log.warning("staged content of volume %s stays until the next start: %s", name, error)


def copy_durably(source_fd: int, target_fd: int) -> None:
    """The copy is on the disk when this returns: what comes after may rely on it, and the image's content cannot be
    copied again once the application has written to the volume. A few files are synced one by one; many together,
    which waits for everything on that file system but once, and begins with it while there is still copying to do."""
    entries, size = count_entries(source_fd, FEW_ENTRIES)
    few = entries < FEW_ENTRIES and size < FEW_BYTES
    copy_tree(source_fd, target_fd, sync_each=few, sync_ahead=not few)
    if not few:
        sync_file_system(target_fd)


def _room(driver: VolumeDriver, volume: Volume) -> str:
    with suppress(OrlopError, OSError):
        if isinstance(driver, Limited) and (limits := driver.limits(volume.name)).size_bytes:
            limit = describe_size(limits.size_bytes)
            return f"The volume may hold {limit}; for more: orlop volume update --size SIZE {volume.name}"
    return "Free some space on that disk and try again"


def _open_source(root: Path, path: str) -> int | None:
    """The image's directory at that place, links resolved within the root; None when there is none."""
    root_fd = os.open(root, _DIRECTORY)
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    finally:
        os.close(root_fd)
    assert stat.S_ISDIR(os.fstat(fd).st_mode)
    return fd


def _in_place(driver: VolumeDriver, volume: Volume, source_fd: int, subpath: str) -> bool:
    """Into the volume itself, for want of a place beside it. A failure takes back what was copied: the place was
    empty, so everything that came in under the image's names is ours."""
    use = secrets.token_hex(32)
    path = driver.attach(volume.name, use)
    try:
        require_storage(f"populate {volume.name}", path)
        with _opened(path) as top_fd, _part(top_fd, subpath) as target_fd:
            if target_fd is None or os.listdir(target_fd):
                return False
            try:
                copy_durably(source_fd, target_fd)
            except BaseException:
                for name in os.listdir(source_fd):
                    remove_tree_at(target_fd, name, f"{path}/{subpath}/{name}")
                raise
        return True
    finally:
        driver.detach(volume.name, use)


@contextmanager
def _part(top_fd: int, subpath: str) -> Iterator[int | None]:
    """None where it is no directory within the volume: the start will say so."""
    try:
        fd = open_beneath(top_fd, subpath or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            raise
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
