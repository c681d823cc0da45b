"""Who uses a volume whose content is mounted on `_data`, and whether what is mounted there is the volume's own.

    <name>/uses/<use id>   an empty file a use
    <name>/mounted         the line that our mount got in the mount table

Both are about what the kernel holds now and mean nothing after a reboot. `uses/` is there before anything is mounted
and until it is unmounted: a mount that a crash left without its line is therefore known as ours, and one on a volume
without `uses/` is somebody else's.

    attach   mark -> mount, unless it is mounted -> write down what was mounted
    detach   unmark -> unmount, when no mark is left
"""

import errno
import json
import logging
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from orlop.drivers.volumes.volume_directory import VolumeDirectory, exists, read_file, write_file
from orlop.errors import HostFailure, Unavailable
from orlop.kernel import mounts
from orlop.kernel.libc import sync_file_system
from orlop.kernel.mount_process import unmount_within
from orlop.kernel.mounts import MountEntry

USES, MOUNTED = "uses", "mounted"
DEADLINE_SECONDS = 30.0  # for storage that is not of this host

log = logging.getLogger(__name__)


class State(Enum):
    """Of a volume's `_data`."""

    ABSENT = auto()  # nothing is mounted on it
    OURS = auto()
    COVERED = auto()  # ours, and something else over it
    FOREIGN = auto()  # something that is not ours


def attach_mounted(
    volume: VolumeDirectory,
    use_id: str,
    mount: Callable[[], None],
    is_expected: Callable[[MountEntry], bool] = lambda entry: False,
) -> None:
    """`_data` shows what `mount` mounts there. What somebody else mounted is taken only where it `is_expected`."""
    state, top = _look(volume)
    if state is State.FOREIGN and top is not None and is_expected(top):
        state = State.OURS
    if state in (State.FOREIGN, State.COVERED) and top is not None:
        why = f"{top.source} ({top.fs_type}) is mounted on {volume.data_path}, and not by this volume"
        raise HostFailure(f"attaching volume {volume.name}", why, f"Unmount it first: umount {volume.data_path}")
    with suppress(FileExistsError):
        os.mkdir(USES, 0o700, dir_fd=volume.fd)
    if state is State.OURS:
        _mark(volume, use_id)
        return
    _forget(volume)
    _mark(volume, use_id)
    try:
        mount()
    except BaseException as error:
        _unmark(volume, use_id)
        if not isinstance(error, Unavailable):  # a mount that was given up waiting for may come yet
            _let_go(volume)
        raise
    _write_down(volume)


def mount_anew(volume: VolumeDirectory, use_ids: Collection[str], mount: Callable[[], None]) -> None:
    """In the place of a mount that is dead, for everybody who uses the volume, and for these."""
    state, top = _look(volume)
    if state in (State.FOREIGN, State.COVERED) and top is not None:
        why = f"{top.source} ({top.fs_type}) is mounted on {volume.data_path}, and not by this volume"
        raise HostFailure(f"mending volume {volume.name}", why, f"Unmount it first: umount {volume.data_path}")
    mark_uses(volume, use_ids)
    if state is State.OURS:
        mounts.unmount(volume.data_path, mounts.MNT_DETACH)  # waits for nobody
    with suppress(FileNotFoundError):
        os.unlink(MOUNTED, dir_fd=volume.fd)
    mount()
    _write_down(volume)


def mark_uses(volume: VolumeDirectory, use_ids: Collection[str]) -> None:
    """These have it attached."""
    with suppress(FileExistsError):
        os.mkdir(USES, 0o700, dir_fd=volume.fd)
    for use_id in use_ids:
        _mark(volume, use_id)


def is_in_use(volume: VolumeDirectory) -> bool:
    """As the marks say."""
    return bool(_marks(volume))


def join_mounted(volume: VolumeDirectory, use_id: str) -> bool:
    """For a volume whose options ask for no mount any more: who comes sees what the other users see as long as there
    are any (True), and the plain directory afterwards."""
    if not exists(volume.fd, USES):
        return False
    if is_attached(volume):
        _mark(volume, use_id)
        return True
    return False


def is_attached(volume: VolumeDirectory) -> bool:
    """Whether a use holds the mount. A mount that nobody uses any more (its last detach was cut off) goes now."""
    if not exists(volume.fd, USES):
        return False
    if _marks(volume) and _look(volume)[0] in (State.OURS, State.COVERED):
        return True
    release_unused(volume)
    return False


def is_only_use(volume: VolumeDirectory, use_id: str) -> bool:
    return _marks(volume) == [use_id]


def is_last_use(volume: VolumeDirectory, use_id: str) -> bool:
    """Whether nobody would have it mounted any more without this use."""
    return exists(volume.fd, USES) and set(_marks(volume)) <= {use_id}


def leave_mounted(volume: VolumeDirectory, use_id: str) -> None:
    """The use ends, and the mount stays for the time being."""
    _unmark(volume, use_id)


def detach_mounted(volume: VolumeDirectory, use_id: str) -> None:
    """Nothing to do is success."""
    if exists(volume.fd, USES):
        _unmark(volume, use_id)
        release_unused(volume)


def is_ours(volume: VolumeDirectory) -> bool:
    """Whether what is mounted on `_data`, and seen there, is the volume's own."""
    return _look(volume)[0] is State.OURS


def keep_marks(volume: VolumeDirectory, use_ids: Collection[str]) -> None:
    """All other marks are of uses that a crash ended."""
    for mark in _marks(volume):
        if mark not in use_ids:
            _unmark(volume, mark)


def seen_mount(volume: VolumeDirectory) -> MountEntry | None:
    """What is mounted on `_data` and seen there."""
    return _look(volume)[1]


def keep_uses(volume: VolumeDirectory, use_ids: Collection[str]) -> None:
    """What nobody uses any more is unmounted, unless that may have to wait for somebody else's storage: then the next
    attach takes it as it is, or the removal unmounts it."""
    keep_marks(volume, use_ids)
    _, top = _look(volume)
    if top is None or not is_foreign(top.source, top.fs_type):
        release_unused(volume)


def release_unused(volume: VolumeDirectory) -> None:
    """Unmount what no use holds, and only what is ours."""
    if not exists(volume.fd, USES):
        return
    state, top = _look(volume)
    if state is State.ABSENT:
        _forget(volume)
    if _marks(volume):
        return
    if state is State.COVERED and top is not None:
        log.warning("volume %s stays mounted: %s is mounted over it", volume.name, top.source)
        return
    if state is State.OURS and top is not None:
        _unmount(volume.data_path, top)
    _let_go(volume)


def _look(volume: VolumeDirectory) -> tuple[State, MountEntry | None]:
    """And the mount that is seen there."""
    point = mounts.spelled(volume.data_path)
    stack = [entry for entry in mounts.mounts_at_or_below(volume.path) if entry.mount_point == point]
    if not stack:
        return State.ABSENT, None
    if not exists(volume.fd, USES):
        return State.FOREIGN, stack[0]
    line = read_file(volume.fd, MOUNTED)
    if not line:
        return (State.OURS if len(stack) == 1 else State.COVERED), stack[0]
    ours = [_render(entry) == line for entry in stack]
    if ours[0]:
        return State.OURS, stack[0]
    return (State.COVERED if any(ours) else State.FOREIGN), stack[0]


def _render(entry: MountEntry) -> str:
    """What tells one mount from another. Its id alone does not: the kernel gives a free one away again at once."""
    return json.dumps([entry.id, entry.device, entry.root, entry.fs_type, entry.source])


def _write_down(volume: VolumeDirectory) -> None:
    _, top = _look(volume)
    if top is not None:
        write_file(volume.fd, MOUNTED, _render(top))


def _forget(volume: VolumeDirectory) -> None:
    """Nothing is mounted, whatever the marks say: they are from before a reboot, or somebody unmounted it."""
    for stale in _marks(volume):
        _unmark(volume, stale)
    with suppress(FileNotFoundError):
        os.unlink(MOUNTED, dir_fd=volume.fd)


def _let_go(volume: VolumeDirectory) -> None:
    with suppress(FileNotFoundError):
        os.unlink(MOUNTED, dir_fd=volume.fd)
    with suppress(OSError):
        os.rmdir(USES, dir_fd=volume.fd)


def _marks(volume: VolumeDirectory) -> list[str]:
    try:
        fd = os.open(USES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=volume.fd)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _mark(volume: VolumeDirectory, use_id: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(f"{USES}/{use_id}", flags, 0o600, dir_fd=volume.fd))


def _unmark(volume: VolumeDirectory, use_id: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(f"{USES}/{use_id}", dir_fd=volume.fd)


def _unmount(path: Path, entry: MountEntry) -> None:
    try:
        if entry.source.startswith("/dev/") and entry.root == "/":
            # When this returns, a block device's bytes are on it. Unmounting alone does not promise that: a mount
            # namespace that was copied meanwhile keeps the file system alive.
            _sync(path)
        if is_foreign(entry.source, entry.fs_type):
            unmount_within(DEADLINE_SECONDS, str(path))
        else:
            mounts.unmount(path)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return
        if error.errno not in (errno.EBUSY, errno.ETIMEDOUT):
            raise
        mounts.unmount(path, mounts.MNT_DETACH)


def _sync(path: Path) -> None:
    """What a disk that fails or is full does not take any more is lost, mounted or not: its users were told when they
    synced. So that is no reason to stay mounted for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file_system(fd)
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        log.error("%s: not everything reached the disk: %s", path, error.strerror)
    finally:
        os.close(fd)


def is_foreign(source: str, fs_type: str) -> bool:
    """Whether somebody else's storage has to answer. A device, memory and what is mounted here already do not wait."""
    return not (source.startswith("/dev/") or fs_type in ("none", "bind", "tmpfs", "ramfs", "overlay"))
