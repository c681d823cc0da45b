"""Whose data root is this? Made, checked and locked before anything else touches it.

<data-root>/orlop/FORMAT   the number of the layout; a newer one is refused
<data-root>/orlop/lock     held (flock) by the daemon that uses it; says who and since when
"""

import fcntl
import os
import re
import time
from pathlib import Path

from orlop.errors import Conflict, HostFailure, NotFound
from orlop.store.files import TRIAL, sync_directory, write_durably
from orlop.store.journal_file import EMPTY, glance, recovery_hint
from orlop.store.paths import FORMAT, DataRoot, ExecRoot

_DOCKER = ("engine-id", "image", "buildkit", "network", "containerd", "swarm", "plugins", "runtimes", "tmp")
_PODMAN = ("libpod", "db.sql", "storage.lock", "overlay-images", "overlay-layers", "vfs-images")
_MINE = ("orlop",)
_LAYER_DRIVERS = ("overlay2", "vfs")
_ID = re.compile("[0-9a-f]{64}(-init)?")


def open_data_root(data_root: DataRoot) -> int:
    """The lock's descriptor, to be kept open. Raises Conflict for another engine's root, a newer format or one that
    is in use, HostFailure where it cannot be written."""
    return _open(data_root, "")


def open_lent_root(data_root: DataRoot, driver: str) -> int:
    """The same for a root whose volumes are for other engines, and of one driver. Raises Conflict for a daemon's."""
    return _open(data_root, driver)


def mark_lent(data_root: DataRoot, driver: str) -> None:
    """From here on no daemon takes it."""
    if not data_root.lent.exists():
        write_durably(data_root.lent, f"{driver}\n".encode())


def _open(data_root: DataRoot, lent_driver: str) -> int:
    option = "--root" if lent_driver else "--data-root"
    try:
        data_root.path.mkdir(mode=0o710, parents=True, exist_ok=True)
        present = _present(data_root.path)
        _refuse_strangers(data_root.path, present, option)
        data_root.own.mkdir(mode=0o700, exist_ok=True)
        lock = _lock(data_root, option)
        try:
            _check_lent(data_root, lent_driver)
            _prepare(data_root)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise HostFailure(
            f"data root {data_root.path}",
            f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror or error),
            f"Check that the disk is mounted, writable and has room, or choose another one with {option}",
        ) from error
    return lock


def _check_lent(data_root: DataRoot, driver: str) -> None:
    """A daemon's mounts and those of other engines are told apart by their roots."""
    subject = f"data root {data_root.path}"
    if data_root.lent.exists():
        lent = data_root.lent.read_text().strip()
        if not driver:
            why = f"its volumes are those of the driver {lent} for other engines (orlop plugin serve)"
            raise Conflict(subject, why, "Choose another one with --data-root")
        if lent != driver:
            raise Conflict(subject, f"it is the driver {lent}'s", "Choose another one with --root")
    elif driver and (data_root.journal.exists() or any(data_root.path.glob("volumes/*/orlop.json"))):
        raise Conflict(subject, "it is an Orlop daemon's", "Choose another one with --root")


def lock_for_recovery(data_root: DataRoot) -> int:
    """As `open_data_root`, of a root that is there and whose journal is lost. Makes nothing but the folder orlop and
    the lock in it. Raises NotFound, Conflict, HostFailure."""
    subject = f"data root {data_root.path}"
    try:
        if not data_root.path.is_dir():
            raise NotFound(subject, "it is not there", "Check --data-root")
        present = _present(data_root.path)
        if "orlop" not in present and not is_own_without_memory(data_root.path, present):
            _refuse_strangers(data_root.path, present)
            raise NotFound(subject, "there is nothing of Orlop's in it", "Check --data-root")
        data_root.own.mkdir(mode=0o700, exist_ok=True)
        lock = _lock(data_root)
        try:
            _check_format(data_root)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise HostFailure(subject, f"{error.strerror or error}{where}", "Check that the disk is writable") from error
    return lock


def _prepare(data_root: DataRoot) -> None:
    _check_format(data_root)
    _refuse_lost_journal(data_root)
    for path, mode in (
        (data_root.recipes, 0o700),
        (data_root.incoming, 0o700),
        (data_root.containers, 0o710),
        (data_root.volumes, 0o701),
    ):
        path.mkdir(mode=mode, exist_ok=True)
    sync_directory(data_root.path)
    sync_directory(data_root.own)


def open_exec_root(exec_root: ExecRoot) -> None:
    """Raises HostFailure where it cannot be made."""
    try:
        for path in (exec_root.path, exec_root.namespaces, exec_root.views, exec_root.runtime):
            path.mkdir(mode=0o711 if path == exec_root.path else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HostFailure(f"exec root {exec_root.path}", str(error), "Choose another one with --exec-root") from error


def _refuse_strangers(path: Path, present: set[str], option: str = "--data-root") -> None:
    if present & set(_MINE) or not present:
        return
    way_out = f"Choose an empty directory with {option}"
    if is_own_without_memory(path, present):
        why = "the daemon's memory of it, the folder orlop, is missing"
        raise Conflict(f"data root {path}", why, recovery_hint(DataRoot(path).journal))
    for marks, engine in ((_PODMAN, "Podman"), (_DOCKER, "Docker")):
        if present & set(marks):
            take_over = f", and take its volumes over from there: orlop adopt {path} --dry-run"
            hint = way_out + take_over if "volumes" in present else way_out
            raise Conflict(f"data root {path}", f"it belongs to {engine}", hint)
    some = ", ".join(sorted(present)[:3])
    raise Conflict(f"data root {path}", f"it is not empty and not Orlop's (it has {some})", way_out)


def _present(path: Path) -> set[str]:
    """What says whose it is: neither what a new disk has, nor what a killed start of ours left of its trying."""
    return {entry.name for entry in path.iterdir() if not entry.name.startswith(("lost+found", TRIAL))}


def is_own_without_memory(path: Path, present: set[str]) -> bool:
    """Whether Orlop made this data root, and its own folder is gone: a volume says so."""
    if not present <= {"volumes", "drivers", "containers", "plugins", "lost+found", *_LAYER_DRIVERS}:
        return False
    volumes = DataRoot(path).volumes
    return any(next(volumes.glob(pattern), None) for pattern in ("*/orlop.json", ".retired/*/orlop.json"))


def _lock(data_root: DataRoot, option: str = "--data-root") -> int:
    fd = os.open(data_root.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(fd, 200).decode(errors="replace").strip() or "another daemon"
        os.close(fd)
        raise Conflict(
            f"data root {data_root.path}",
            f"it is in use by {holder}",
            f"Stop that {'one' if option == '--root' else 'daemon'}, or choose another {option}",
        ) from error
    os.ftruncate(fd, 0)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    os.pwrite(fd, f"pid {os.getpid()} since {since}\n".encode(), 0)
    return fd


def _refuse_lost_journal(data_root: DataRoot) -> None:
    """A start removes the layers and container folders that the journal does not know: with no journal, all of them.
    Volumes are safe from that and are no reason to refuse: they are found again by their folders."""
    wrong = glance(data_root.journal)
    if data_root.journal.exists() and not wrong:
        return
    orphans = orphan_folders(data_root)
    folders = " and ".join(map(str, orphans))
    if orphans:
        state = f"is not usable ({wrong})" if wrong else "is missing"
        raise Conflict(
            f"data root {data_root.path}",
            f"its journal {data_root.journal} {state}, but there are containers or images in {folders}",
            recovery_hint(data_root.journal),
        )
    if wrong and wrong != EMPTY:
        why = f"its journal {data_root.journal} is not usable: {wrong}"
        raise Conflict(f"data root {data_root.path}", why, recovery_hint(data_root.journal))


def orphan_folders(data_root: DataRoot) -> list[Path]:
    """Folders with layers or containers in them, which only a journal can say the use of."""
    folders = [data_root.containers, *(data_root.layers(kind) for kind in _LAYER_DRIVERS)]
    return [path for path in folders if any(_ID.fullmatch(name) for name in _below(path))]


def _below(path: Path) -> list[str]:
    """Names in a folder and in the folders in it."""
    if not path.is_dir():
        return []
    return [found.name for pattern in ("*", "*/*") for found in path.glob(pattern)]


def _check_format(data_root: DataRoot) -> None:
    try:
        text = data_root.format.read_text().strip()
    except FileNotFoundError:
        write_durably(data_root.format, f"{FORMAT}\n".encode(), 0o644)
        return
    if not text.isdigit():
        raise Conflict(f"data root {data_root.path}", f"its FORMAT file says {text[:40]!r}", "Restore it from a backup")
    if int(text) > FORMAT:
        raise Conflict(
            f"data root {data_root.path}",
            f"it was written by a newer Orlop (format {text}; this one knows {FORMAT})",
            "Run the newer version, or choose another --data-root",
        )
