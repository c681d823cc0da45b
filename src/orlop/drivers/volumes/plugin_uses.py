"""Which uses a plugin was told of: what makes sure that it is told of their end, once and not for nothing.

    <dir>/<hash of volume and use>      JSON, one file a use; owner: this module

    mounting   Mount goes out: after a crash it may have been done
    mounted    the plugin said where
    leaving    Unmount is due: tried again until the plugin has taken it

On the exec root, which a reboot clears: what a plugin of this host had mounted is gone then, too.
"""

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class UseState(StrEnum):
    MOUNTING = "mounting"
    MOUNTED = "mounted"
    LEAVING = "leaving"


class PluginUse(msgspec.Struct, frozen=True):
    volume: str
    id: str
    state: UseState
    path: str = ""
    identity: tuple[int, ...] = ()  # of the plugin that was told
    is_mount: bool = False  # there was a mount at the path


class PluginUses:
    """Thread-safe; who changes a use holds it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._uses = _load(directory)

    @contextmanager
    def hold(self, volume: str, use_id: str) -> Iterator[PluginUse | None]:
        """Nobody else touches this use meanwhile; the plugin may be asked."""
        key = _key(volume, use_id)
        with self._changed:
            while key in self._held:
                self._changed.wait()
            self._held.add(key)
        try:
            yield self._uses.get(key)
        finally:
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()

    def put(self, use: PluginUse) -> None:
        key = _key(use.volume, use.id)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._directory / f".{key}"
        fresh.write_bytes(msgspec.json.encode(use))
        fresh.replace(self._directory / key)
        with self._changed:
            self._uses[key] = use

    def drop(self, use: PluginUse) -> None:
        key = _key(use.volume, use.id)
        (self._directory / key).unlink(missing_ok=True)
        with self._changed:
            self._uses.pop(key, None)

    def clear(self) -> None:
        """Whoever was told of them is gone for good."""
        for use in self.all():
            self.drop(use)
        if self._directory.is_dir():
            self._directory.rmdir()

    def all(self) -> list[PluginUse]:
        with self._changed:
            return list(self._uses.values())


def _key(volume: str, use_id: str) -> str:
    return hashlib.sha256(f"{use_id}:{volume}".encode()).hexdigest()


def _load(directory: Path) -> dict[str, PluginUse]:
    found: dict[str, PluginUse] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name.startswith("."):
            path.unlink()  # cut off by a crash: its use is as it was before
            continue
        try:
            found[path.name] = msgspec.json.decode(path.read_bytes(), type=PluginUse)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("what a plugin has mounted is not known from %s: %s", path, error)
    return found
