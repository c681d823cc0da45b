"""Volumes whose options name something to mount: mounted on `_data` while somebody uses them.

Whether it is mounted is asked of the kernel. Who uses it stands in a directory of marks, one empty file a use, beside
`_data`: they outlive the daemon, and where `_data` is no mount point (after a reboot) they mean nothing and are
dropped. So a count can neither go below zero nor be forgotten.

    attach   mark -> mount, unless it is mounted
    detach   unmark -> unmount, when no mark is left
"""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from orlop.drivers.volumes.local_rules import MountOptions
from orlop.errors import HostFailure, Unavailable
from orlop.kernel import mounts
from orlop.kernel.libc import sync_file_system
from orlop.kernel.mount_process import mount_within, unmount_within
from orlop.model.volume import hide_secret_words

USES = "uses"
DEADLINE_SECONDS = 30.0  # for storage that is not of this host

# Words that become flags of mount(2): (bits to set, bits to clear). All others are the file system's own.
_FLAGS: dict[str, tuple[int, int]] = {
    "defaults": (0, 0),
    "rw": (0, mounts.MS_RDONLY),
    "ro": (mounts.MS_RDONLY, 0),
    "suid": (0, mounts.MS_NOSUID),
    "nosuid": (mounts.MS_NOSUID, 0),
    "dev": (0, mounts.MS_NODEV),
    "nodev": (mounts.MS_NODEV, 0),
    "exec": (0, mounts.MS_NOEXEC),
    "noexec": (mounts.MS_NOEXEC, 0),
    "async": (0, mounts.MS_SYNCHRONOUS),
    "sync": (mounts.MS_SYNCHRONOUS, 0),
    "dirsync": (mounts.MS_DIRSYNC, 0),
    "mand": (mounts.MS_MANDLOCK, 0),
    "nomand": (0, mounts.MS_MANDLOCK),
    "atime": (0, mounts.MS_NOATIME),
    "noatime": (mounts.MS_NOATIME, 0),
    "diratime": (0, mounts.MS_NODIRATIME),
    "nodiratime": (mounts.MS_NODIRATIME, 0),
    "relatime": (mounts.MS_RELATIME, 0),
    "norelatime": (0, mounts.MS_RELATIME),
    "strictatime": (mounts.MS_STRICTATIME, 0),
    "nostrictatime": (0, mounts.MS_STRICTATIME),
    "bind": (mounts.MS_BIND, 0),
    "rbind": (mounts.MS_BIND | mounts.MS_REC, 0),
}
_PROPAGATION = {
    "private": mounts.MS_PRIVATE,
    "rprivate": mounts.MS_PRIVATE | mounts.MS_REC,
    "slave": mounts.MS_SLAVE,
    "rslave": mounts.MS_SLAVE | mounts.MS_REC,
    "shared": mounts.MS_SHARED,
    "rshared": mounts.MS_SHARED | mounts.MS_REC,
}


def parse_mount_words(words: str) -> tuple[int, str, int]:
    """Flags of mount(2), the data left for the file system, and the propagation to set afterwards (0: none)."""
    flags, propagation = 0, 0
    data: list[str] = []
    for word in filter(None, words.split(",")):
        if word in _FLAGS:
            add, remove = _FLAGS[word]
            flags = (flags | add) & ~remove
        elif word in _PROPAGATION:
            propagation = _PROPAGATION[word]
        else:
            data.append(word)
    return flags, ",".join(data), propagation


def is_attached(volume_fd: int, path: Path) -> bool:
    """Whether a use holds the mount. A mount that nobody uses any more (its last detach was cut off) goes now."""
    if not _marks(volume_fd) or not mounts.is_mount_point(path):
        release_unused(volume_fd, path)
        return False
    return True


def mount_for_use(volume_fd: int, path: Path, options: MountOptions, use_id: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(USES, 0o700, dir_fd=volume_fd)
    mounted = mounts.is_mount_point(path)
    if not mounted:
        for stale in _marks(volume_fd):
            os.unlink(f"{USES}/{stale}", dir_fd=volume_fd)
    _mark(volume_fd, use_id)
    if mounted:
        return
    try:
        _mount(path, options)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(f"{USES}/{use_id}", dir_fd=volume_fd)
        raise


def join_mount(volume_fd: int, path: Path, use_id: str) -> bool:
    """The options that it was mounted for are gone: who comes sees what the other users see as long as there are any,
    and the plain directory afterwards. True in the first case."""
    if is_attached(volume_fd, path):
        _mark(volume_fd, use_id)
        return True
    for stale in _marks(volume_fd):
        os.unlink(f"{USES}/{stale}", dir_fd=volume_fd)
    return False


def unmount_for_use(volume_fd: int, path: Path, use_id: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(f"{USES}/{use_id}", dir_fd=volume_fd)
    release_unused(volume_fd, path)


def release_unused(volume_fd: int, path: Path) -> None:
    """Unmount what no use holds. Only ever a volume with marks: what somebody else mounted there is not ours."""
    if not _exists(volume_fd) or _marks(volume_fd):
        return
    if mounts.is_mount_point(path):
        _unmount(path)
    with suppress(OSError):
        os.rmdir(USES, dir_fd=volume_fd)


def _exists(volume_fd: int) -> bool:
    try:
        os.lstat(USES, dir_fd=volume_fd)
    except FileNotFoundError:
        return False
    return True


def _mark(volume_fd: int, use_id: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(f"{USES}/{use_id}", flags, 0o600, dir_fd=volume_fd))


def _marks(volume_fd: int) -> list[str]:
    try:
        fd = os.open(USES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=volume_fd)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _unmount(path: Path) -> None:
    entry = next(iter(mounts.mounts_at_or_below(path)), None)
    try:
        if entry is not None and entry.source.startswith("/dev/") and entry.root == "/":
            # When this returns, a block device's bytes are on it. Unmounting alone does not promise that: a mount
            # namespace that was copied meanwhile keeps the file system alive.
            _sync(path)
        if entry is not None and _is_foreign(entry.source, entry.fs_type):
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
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file_system(fd)
    finally:
        os.close(fd)


def _is_foreign(source: str, fs_type: str) -> bool:
    """Whether somebody else's storage has to answer. A device, memory and what is mounted here already do not wait."""
    return not (source.startswith("/dev/") or fs_type in ("none", "bind", "tmpfs", "ramfs", "overlay"))


def _mount(path: Path, options: MountOptions) -> None:
    flags, data, propagation = parse_mount_words(_with_address(options))
    data = ",".join(filter(None, (data, *_owner_words(options))))
    source, fs_type = options.device, options.fs_type
    shown = f"mount {source}:{path}, data: {hide_secret_words(data)}, flags: {flags:#x}"
    is_bind = bool(flags & mounts.MS_BIND)
    try:
        if not is_bind and _is_foreign(source, fs_type):
            mount_within(DEADLINE_SECONDS, source, str(path), fs_type, flags, data)
        else:
            mounts.mount(source, path, "" if is_bind else fs_type, flags, data)
        try:
            if is_bind and flags & ~(mounts.MS_BIND | mounts.MS_REC):
                # The kernel heeds no other flag on the call that makes a bind mount.
                mounts.mount("none", path, "", flags & ~mounts.MS_REC | mounts.MS_REMOUNT)
            if propagation:
                mounts.set_propagation(path, propagation)
        except OSError:
            mounts.unmount(path, mounts.MNT_DETACH)
            raise
    except TimeoutError as error:
        hint = "Check that the server runs and can be reached from here"
        raise Unavailable("failed to mount local volume", f"{shown}: {error.strerror}", hint) from error
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        hint = "Check the volume's options with: docker volume inspect"
        if error.errno == errno.ENODEV:
            hint = f"This kernel has no file system of the type {fs_type}"
        raise HostFailure("failed to mount local volume", f"{shown}: {reason}", hint) from error


def _owner_words(options: MountOptions) -> list[str]:
    """Memory has its owner from the first moment."""
    if options.fs_type != "tmpfs":
        return []
    ids = [f"{key}={value}" for key, value in (("uid", options.uid), ("gid", options.gid)) if value is not None]
    return ids if options.mode is None else [*ids, f"mode={options.mode:o}"]


def _with_address(options: MountOptions) -> str:
    """nfs and cifs want an address where people write a host's name; it is looked up at each mount."""
    if options.fs_type not in ("nfs", "nfs4", "cifs"):
        return options.options
    words = options.options.split(",") if options.options else []
    position = next((number for number, word in enumerate(words) if word.startswith("addr=")), None)
    host = words[position].removeprefix("addr=") if position is not None else ""
    if not host and options.fs_type == "cifs":
        host = urlsplit(options.device).hostname or ""
    if not host:
        return options.options
    try:
        address = str(socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)[0][4][0])
    except OSError as error:
        why = f"error resolving passed in network volume address: {host}: {error.strerror}"
        raise HostFailure("failed to mount local volume", why) from error
    if position is None:
        words.append(f"addr={address}")
    else:
        words[position] = f"addr={address}"
    return ",".join(words)
