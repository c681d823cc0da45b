"""Where a managed plugin's files are on the host, and where what it calls a path is.

A plugin names paths of its own root file system. What it mounts there the host sees only below its propagated mount,
which is shared with it; everywhere else there would be, for the host, the empty directory below. So both mount tables
are asked: a path counts only where plugin and host see the same directory of the same file system.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from orlop.errors import HostFailure, OrlopError
from orlop.kernel.answering import Answering
from orlop.kernel.mounts import (
    MNT_DETACH,
    MS_SHARED,
    MountEntry,
    bind,
    detach_privately,
    is_mount_point,
    mount_of,
    mounts_at_or_below,
    read_mounts,
    set_propagation,
    unmount,
)
from orlop.kernel.openat2 import open_beneath
from orlop.model.plugin import Plugin
from orlop.store.paths import DataRoot, ExecRoot

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
# Of a file system whose program has died the attributes are still answered for a second, from memory; this is not.
_STATFS = Answering(("stat", "-f", "--"))


class PluginPlaces:
    def __init__(self, data_root: DataRoot, exec_root: ExecRoot) -> None:
        self._data_root = data_root
        self._exec_root = exec_root

    def home(self, plugin_id: str) -> Path:
        return self._data_root.plugin(plugin_id)

    def rootfs(self, plugin: Plugin) -> Path:
        return self.rootfs_of(plugin.id, plugin.version)

    def rootfs_of(self, plugin_id: str, version: int) -> Path:
        return self.home(plugin_id) / f"rootfs.{version}"

    def propagated(self, plugin_id: str) -> Path:
        return self.home(plugin_id) / "propagated-mount"

    def log(self, plugin_id: str) -> Path:
        return self.home(plugin_id) / "log"

    def sockets(self, plugin_id: str) -> Path:
        """A part of the id is enough, and the path of a socket has room for 107 bytes."""
        return self._exec_root.managed / "sockets" / plugin_id[:16]

    def socket(self, plugin: Plugin) -> Path:
        return self.sockets(plugin.id) / plugin.config.socket

    # Mounts

    def prepare(self, plugin: Plugin) -> None:
        """Before its process starts."""
        sockets = self.sockets(plugin.id)
        sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket(plugin).unlink(missing_ok=True)  # what is there now is nobody's, and not to be taken for its own
        if plugin.config.propagated_mount:
            self._detach_dead(plugin.id)
            place = self.propagated(plugin.id)
            place.mkdir(mode=0o755, exist_ok=True)
            if not is_mount_point(place):
                bind(place, place)
            set_propagation(place, MS_SHARED)

    def _detach_dead(self, plugin_id: str) -> None:
        """What a process of it that died had mounted serves nobody, and stands in the way of mounting it again."""
        place = str(self.propagated(plugin_id).resolve())
        for entry in mounts_at_or_below(place):
            if entry.mount_point == place:
                continue
            try:
                if not _STATFS.exists(entry.mount_point, _LOOK_SECONDS):
                    unmount(entry.mount_point, MNT_DETACH)
            except OSError as error:
                log.warning("what is mounted at %s stays: %s", entry.mount_point, error)

    def release(self, plugin_id: str) -> None:
        """Everything mounted in its folder goes, from the host only."""
        home = self.home(plugin_id)
        for entry in mounts_at_or_below(home):
            detach_privately(entry.mount_point)

    # Paths that it names

    def show(self, plugin: Plugin, path: str) -> str:
        """Where that is on the host, for people: nothing is looked at."""
        if not path.startswith("/"):
            return path
        base, inner = self._split(plugin, path)
        return f"{base}/{inner}" if inner else str(base)

    def resolve(self, plugin: Plugin, path: str) -> str:
        """The same, for mounting it. Raises HostFailure where the host does not see there what the plugin sees."""
        subject = f"plugin {plugin.name}"
        base, inner = self._split(plugin, path)
        try:
            root = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                parent = inner.rpartition("/")[0]
                os.close(open_beneath(root, parent or ".", os.O_PATH | os.O_DIRECTORY, no_symlinks=True))
            finally:
                os.close(root)
            there = _seen(path, read_mounts(f"/proc/{plugin.pid}/mountinfo"))
            whole = f"{base.resolve()}/{inner}".rstrip("/")
            here = _seen(whole, read_mounts())
        except OSError as error:
            why = f"it says that the volume is at {path}, which cannot be reached: {error.strerror or error}"
            raise HostFailure(subject, why, "Look at the log of the plugin") from error
        if there != here:
            why = f"it says that the volume is at {path}, and what it has mounted there the host does not see"
            hint = "Volumes must be below the propagatedMount of the plugin's config.json"
            raise HostFailure(subject, why, hint)
        return whole

    def _split(self, plugin: Plugin, path: str) -> tuple[Path, str]:
        """The directory on the host that the path begins in, and the rest of it."""
        clean = os.path.normpath(path)
        shared = os.path.normpath(plugin.config.propagated_mount) if plugin.config.propagated_mount else ""
        if shared and f"{clean}/".startswith(f"{shared}/"):
            return self.propagated(plugin.id), clean[len(shared) :].strip("/")
        return self.rootfs(plugin), clean.strip("/")


def _seen(path: str, table: Iterable[MountEntry]) -> tuple[str, str]:
    """Which directory of which file system that is."""
    clean = os.path.normpath(path)
    found = mount_of(clean, table)
    inside = clean[len(found.mount_point.rstrip("/")) :].strip("/")
    return found.device, f"{found.root.rstrip('/')}/{inside}".rstrip("/")


def tail(path: Path, count: int = 5) -> str:
    """The last words of a log, without conmon's times."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except (OSError, OrlopError):
        return ""
    said = [line.split(" ", 3)[3] if line.count(" ") >= 3 else line for line in lines[-count:]]
    return "; ".join(part.strip() for part in said if part.strip())[-600:]
