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
from collections.abc import Mapping
from pathlib import Path

from orlop.drivers.volumes.driver import Staging, VolumeDriver
from orlop.engine.executor import Executor
from orlop.errors import Conflict, HostFailure, OrlopError
from orlop.kernel.openat2 import open_in_root
from orlop.model.volume import Volume
from orlop.planning.volumes import plan_publish
from orlop.store.trees import copy_tree

log = logging.getLogger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class CopyUp:
    def __init__(self, executor: Executor, drivers: Mapping[str, VolumeDriver]) -> None:
        self._executor = executor
        self._drivers = drivers

    def populate(self, volume: Volume, source_root: Path, source_path: str, in_use: bool) -> bool:
        """Whether anything was copied. The caller holds the volume's lock; `in_use` says that others may have the
        volume's directory open."""
        driver = self._drivers.get(volume.driver)
        if driver is None:
            return False
        source_fd = _open_source(source_root, source_path)
        if source_fd is None:
            return False
        try:
            if isinstance(driver, Staging):
                return self._staged(driver, volume, source_fd, in_use)
            return _in_place(driver, volume, source_fd)
        except OSError as error:
            why = f"{error.strerror or error}"
            hint = "Free some space on that disk and try again" if error.errno == errno.ENOSPC else ""
            raise HostFailure(f"populate {volume.name}", f"failed to populate volume: {why}", hint) from error
        finally:
            os.close(source_fd)

    def _staged(self, driver: Staging, volume: Volume, source_fd: int, in_use: bool) -> bool:
        token = secrets.token_hex(8)
        try:
            staged = driver.stage(volume.name, token)
        except Conflict:
            return False  # not empty
        try:
            target_fd = os.open(staged, _DIRECTORY)
            try:
                copy_tree(source_fd, target_fd)
            finally:
                os.close(target_fd)
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
            driver.unstage(name, token)
        except (OrlopError, OSError) as error:
            log.warning("staged content of volume %s stays until the next start: %s", name, error)


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


def _in_place(driver: VolumeDriver, volume: Volume, source_fd: int) -> bool:
    use = secrets.token_hex(32)
    path = driver.attach(volume.name, use)
    try:
        target_fd = os.open(path, _DIRECTORY)
        try:
            with os.scandir(target_fd) as entries:
                if next(iter(entries), None) is not None:
                    return False
            copy_tree(source_fd, target_fd)
            return True
        finally:
            os.close(target_fd)
    finally:
        driver.detach(volume.name, use)
