"""What is common to the data roots of other engines: their volumes, and that nobody works in there meanwhile."""

import os
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from orlop.model.value import dataclass

DATA = "_data"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class ForeignVolume:
    """A volume of another engine. Its own directory is `place / name`, its data in `_data` there."""

    name: str
    place: Path
    driver: str = "local"
    labels: Mapping[str, str] | None = None
    options: Mapping[str, str] | None = None
    created_at_ns: int = 0
    is_anonymous: bool = False
    containers: tuple[str, ...] = ()  # names of those that refer to it, running or not
    obstacle: str = ""  # why it cannot be taken over at all
    hint: str = ""
    is_gone: bool = False  # the engine remembers it, and nothing lies there
    notes: tuple[str, ...] = ()


class ForeignRoot(Protocol):
    @property
    def engine(self) -> str:
        """Its name, for people."""

    @property
    def path(self) -> Path: ...

    @property
    def place(self) -> Path:
        """The directory in which each volume has one of its own."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep the engine from working in there. Raises Conflict while it does."""

    def volumes(self) -> list[ForeignVolume]:
        """By name. Raises DamagedRoot where the engine's own memory cannot be read."""

    def volumes_by_folder(self) -> list[ForeignVolume]:
        """The same without that memory: no labels, and for Podman no options."""


class DamagedRoot(Exception):
    """The engine's memory is unreadable; the text says what of it, and why."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What lies in the place of a volume."""

    created_at_ns: int = 0
    obstacle: str = ""
    hint: str = ""
    is_gone: bool = False


def look_at(place: Path, name: str) -> Folder:
    """Follows no link and asks nothing that is mounted below, whose server may not answer."""
    if "/" in name or name in ("", ".", "..") or "\0" in name:
        return Folder(obstacle="its name is none that a directory can have")
    shown = place / name
    try:
        fd = os.open(shown, _DIRECTORY)
    except FileNotFoundError:
        return Folder(obstacle=f"{shown} is not there", is_gone=True)
    except OSError as error:
        return Folder(obstacle=f"{shown} is no directory that can be opened: {error.strerror}")
    try:
        with os.scandir(fd) as entries:
            data = next((entry for entry in entries if entry.name == DATA), None)
        if data is not None and data.is_symlink():
            target = os.readlink(DATA, dir_fd=fd)
            hint = (
                "Put the directory in the place of the link; or use it where it is: "
                f"orlop volume create --opt type=none --opt o=bind --opt device={target} {name}"
            )
            return Folder(obstacle=f"its {DATA} is a symbolic link to {target}", hint=hint)
        if data is None or not data.is_dir(follow_symlinks=False):
            return Folder(obstacle=f"there is no directory {DATA} in {shown}")
        # As newer Dockers have it: the directory changes only when the volume is made.
        return Folder(os.fstat(fd).st_ctime_ns)
    finally:
        os.close(fd)


def folder_names(place: Path) -> list[str]:
    """Those of directories, and of links in their place."""
    try:
        with os.scandir(place) as entries:
            kept = [it.name for it in entries if it.is_symlink() or it.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(name for name in kept if not name.startswith("."))


def resolved_place(root: Path, place: Path) -> Path:
    """The volumes' directory without links, which an administrator may have put there, but no other user."""
    real = place.resolve()
    if not real.is_relative_to(root.resolve()) and root.stat().st_uid:
        raise DamagedRoot(f"{place} leads out of {root}, which belongs to the user {root.stat().st_uid}")
    return real


def is_owned_by_user(path: Path) -> bool:
    details = path.stat()
    return stat.S_ISDIR(details.st_mode) and details.st_uid != 0
