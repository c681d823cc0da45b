"""Which layer drivers work on this disk, found out by trying."""

import errno
import logging
import os
import tempfile
from pathlib import Path

from orlop.archive.tree import OPAQUE_XATTR
from orlop.errors import HostFailure, OrlopError, Unsupported
from orlop.kernel.mounts import MNT_DETACH, mount, unmount
from orlop.store.files import TRIAL, remove_tree

_log = logging.getLogger(__name__)

DISK_FULL = os.strerror(errno.ENOSPC)
KINDS = ("overlay2", "vfs")  # best first


def choose(data_root: Path, wanted: str = "") -> str:
    """The kind of driver for a data root: `wanted`, else the one whose layers are there already, else the best that
    works. Never another one than before just because that one fails: its images and containers would seem gone.
    Raises Unsupported with the reason, HostFailure where a full disk keeps it from finding out."""
    if wanted and wanted not in KINDS:
        raise Unsupported(f"storage driver {wanted!r}", "unknown", f"There are: {', '.join(KINDS)}")
    before = next((kind for kind in KINDS if has_layers(data_root, kind)), "")
    chosen = wanted or before
    if chosen == "vfs":
        return chosen
    why = overlay_fault(data_root)
    if not why or (why == DISK_FULL and before):  # it worked before, and a full disk does not say that it stopped
        return "overlay2"
    if why == DISK_FULL:
        raise HostFailure(f"data root {data_root}", why, "Free some space on that disk")
    if chosen:
        raise Unsupported("storage driver overlay2", why, "Put the data root on ext4 or xfs, or use vfs")
    _log.warning("overlay2 cannot be used in %s: %s; falling back to vfs, which copies each layer", data_root, why)
    return "vfs"


def has_layers(data_root: Path, kind: str) -> bool:
    folder = data_root / ("overlay2" if kind == "overlay2" else "vfs/dir")
    try:
        return any(len(path.name) >= 64 for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def overlay_fault(data_root: Path) -> str:
    """ "" where overlayfs works with this directory's file system as its upper one, else why not."""
    data_root.mkdir(mode=0o710, parents=True, exist_ok=True)
    try:
        _clear_left(data_root)
        place = Path(tempfile.mkdtemp(prefix=TRIAL, dir=data_root))
    except OSError as error:
        return DISK_FULL if error.errno == errno.ENOSPC else f"cannot write there: {error.strerror}"
    try:
        return _try_overlay(place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return DISK_FULL
        if error.errno == errno.ENODEV:
            return "the kernel has no overlay file system (modprobe overlay)"
        if error.errno == errno.ENOTSUP:
            return "the file system has no trusted extended attributes"
        return str(error)
    finally:
        try:
            remove_tree(place)
        except (OSError, OrlopError) as error:
            _log.warning("removing %s, made to try overlayfs: %s", place, error)


def _clear_left(data_root: Path) -> None:
    """By a daemon that was killed while it tried."""
    for place in data_root.glob(f"{TRIAL}*"):
        try:
            if (place / "merged").is_mount():
                unmount(place / "merged", MNT_DETACH)
            remove_tree(place)
        except (OSError, OrlopError) as error:
            _log.warning("removing %s, left by an earlier start: %s", place, error)


def _try_overlay(place: Path) -> str:
    lower, upper, work, merged = (place / name for name in ("lower", "upper", "work", "merged"))
    for directory in (lower, upper, work, merged):
        directory.mkdir()
    (lower / "file").touch()
    os.setxattr(lower, OPAQUE_XATTR, b"n")
    mount("overlay", merged, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
    try:
        (merged / "file").unlink()
        if list(merged.iterdir()):
            return "the file system does not tell the kinds of directory entries (d_type)"
        (merged / "file").touch()
    finally:
        unmount(merged, MNT_DETACH)
    return ""
