"""Local volumes that were removed: a rename out of sight, a rename back, and the one place where bytes are deleted.

<root>/<name>  --retire-->  .retired/<id>  --purge-->  .purging/<id>  --cleanup-->  gone
               <--restore--

What a removed volume was is written beside its data before it goes out of sight. Of those beyond the first few of a
prune it is written when all is settled, not while somebody waits for a thousand of them: until then the journal has it,
and a start that finds the journal's mark has it written. What the volume was before lies there all along.
"""

import json
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from orlop.drivers.volumes.local_deletion import delete_tree
from orlop.drivers.volumes.mounted_uses import is_attached
from orlop.drivers.volumes.volume_directory import (
    METADATA,
    PURGING,
    RETIRED,
    RETIRED_METADATA,
    VolumesRoot,
    entered,
    exists,
    read_file,
    refuse_mounts,
    room_permitting,
    write_file,
)
from orlop.errors import ActiveMounts, Conflict, NoSuchVolume, NotFound, OrlopError
from orlop.kernel.mounts import read_mounts
from orlop.store.files import sync_directory, write_durably

log = logging.getLogger(__name__)

AT_ONCE = 20  # records that are written before the answer, from one settling to the next


class LocalRetirement:
    def __init__(self, root: VolumesRoot) -> None:
        self._root = root
        self._deleting: set[str] = set()
        self._deleting_lock = threading.Lock()
        self._unwritten: dict[str, str] = {}  # records, by retired id
        self._removals = 0  # since all was settled
        self._writing = threading.Lock()  # held while one of them is written, so that nobody takes its place away
        self._has_one_log = _file_system_type(root.fd) in ("ext4", "xfs")

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        with self._root.folder(RETIRED) as retired_fd:
            if exists(retired_fd, retired_id):
                # A crash came before the record was written, or before the journal's word of it. What has the name by
                # now is another volume.
                with entered(retired_fd, retired_id) as fd, room_permitting(name):
                    write_file(fd, RETIRED_METADATA, metadata)
                return
            with self._root.open(name, exclusive=True) as volume:
                if is_attached(volume):
                    raise ActiveMounts(f"remove {name}", "volume has active mounts")
                # Harmless where it errs: retiring destroys nothing, and the purge asks for certain.
                if volume.may_have_mounts():
                    refuse_mounts(f"remove {name}", volume.path)
                self._removals += 1
                is_late = self._removals > AT_ONCE
                with room_permitting(name), suppress(FileNotFoundError):
                    if is_late:
                        os.unlink(RETIRED_METADATA, dir_fd=volume.fd)  # of a removal before, which was undone
                    else:
                        write_file(volume.fd, RETIRED_METADATA, metadata)
                os.rename(name, retired_id, src_dir_fd=self._root.fd, dst_dir_fd=retired_fd)
        if is_late:
            with self._writing:
                self._unwritten[retired_id] = metadata

    def note_rename(self) -> None:
        """What is mounted in a volume that was renamed has another path now."""
        self._root.mounts.look_again()

    def settle(self) -> None:
        """One fsync where the file system keeps one log in the order of things (ext4, XFS): syncing any directory that
        a rename touched then syncs everything before it."""
        self._removals = 0
        self._write_records()
        os.fsync(self._root.fd)
        if not self._has_one_log:
            sync_directory(self._root.path / RETIRED)

    def _write_records(self) -> None:
        with self._root.folder(RETIRED) as retired_fd:
            for retired_id in [*self._unwritten]:
                with self._writing:
                    if (metadata := self._unwritten.get(retired_id)) is None:
                        continue
                    where = entered(retired_fd, retired_id)
                    with suppress(FileNotFoundError), where as fd, room_permitting(retired_id):
                        write_file(fd, RETIRED_METADATA, metadata)
                    del self._unwritten[retired_id]

    def restore(self, retired_id: str, name: str, metadata: str) -> None:
        with self._writing:
            self._unwritten.pop(retired_id, None)
        with self._root.folder(RETIRED) as retired_fd:
            if not exists(retired_fd, retired_id):
                self._forget_retirement(retired_id, name)
                return
            if exists(self._root.fd, name):
                raise Conflict(f"restore {name}", f"{self._root.path / name} is there already", "Choose another name")
            with room_permitting(name):
                write_durably(self._root.path / RETIRED / retired_id / METADATA, metadata.encode())
            # Between the look and the rename nobody can lose a volume: rename(2) replaces only an empty directory.
            os.rename(retired_id, name, src_dir_fd=retired_fd, dst_dir_fd=self._root.fd)
        self.settle()
        self._forget_retirement(retired_id, name)

    def _forget_retirement(self, retired_id: str, name: str) -> None:
        try:
            with self._root.open(name) as volume, suppress(FileNotFoundError):
                os.unlink(RETIRED_METADATA, dir_fd=volume.fd)
        except NoSuchVolume:
            raise NotFound(f"restore {name}", f"nothing is retired under the id {retired_id}") from None

    def purge(self, retired_id: str) -> None:
        with self._root.folder(RETIRED) as retired_fd, self._root.folder(PURGING) as purging_fd:
            if not exists(retired_fd, retired_id):
                return
            refuse_mounts(f"purge {retired_id}", self._root.path / RETIRED / retired_id)
            os.rename(retired_id, retired_id, src_dir_fd=retired_fd, dst_dir_fd=purging_fd)
            os.fsync(purging_fd)
            os.fsync(retired_fd)

    def cleanup(self) -> None:
        first: Exception | None = None
        for retired_id in sorted(os.listdir(self._root.path / PURGING)):
            with self._deleting_lock:
                if retired_id in self._deleting:
                    continue  # another thread is at it
                self._deleting.add(retired_id)
            try:
                delete_tree(self._root, PURGING, retired_id)
            except (OrlopError, OSError) as error:
                log.error("deleting purged volume %s: %s", retired_id, error)
                first = first or error
            finally:
                with self._deleting_lock:
                    self._deleting.discard(retired_id)
        if first:
            raise first

    def list_retired(self) -> Sequence[str]:
        with self._root.folder(RETIRED) as fd, os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def metadata(self, retired_id: str) -> str:
        with self._root.folder(RETIRED) as retired_fd, entered(retired_fd, retired_id) as fd:
            record = self._unwritten.get(retired_id) or read_file(fd, RETIRED_METADATA)
            return record if _is_document(record) else read_file(fd, METADATA)


def _is_document(text: str) -> bool:
    """Not so after a disk that was full, or a power cut, at the retirement."""
    try:
        return bool(json.loads(text))
    except ValueError:
        return False


def _file_system_type(fd: int) -> str:
    device = os.fstat(fd).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((entry.fs_type for entry in read_mounts() if entry.device == number), "")
