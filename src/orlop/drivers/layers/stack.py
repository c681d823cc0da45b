"""What a stack of overlay layers shows at a path, without mounting it.

The directories of read-only layers are looked at by path: nobody changes them. A writable layer, which a container may
be changing at this moment, is never looked at this way.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orlop.archive.tree import OPAQUE_XATTR, is_whiteout, joined


@dataclass(frozen=True, slots=True)
class Found:
    details: os.stat_result
    path: Path  # the topmost layer's
    directories: tuple[Path, ...]  # those that merge into this one, top first; () for what is no directory

    @property
    def is_directory(self) -> bool:
        return bool(self.directories)


def find(directories: Sequence[Path], name: str) -> Found | None:
    """What `name` is in a directory that merges these, top first."""
    first: tuple[os.stat_result, Path] | None = None
    merging: list[Path] = []
    for directory in directories:
        path = directory / name
        try:
            details = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if is_whiteout(details):
            break
        first = first or (details, path)
        if not stat.S_ISDIR(details.st_mode):
            break
        merging.append(path)
        if is_opaque(path):
            break
    if first is None:
        return None
    if not stat.S_ISDIR(first[0].st_mode):
        merging = []
    return Found(*first, tuple(merging))


def is_opaque(target: Path | int) -> bool:
    try:
        return os.getxattr(target, OPAQUE_XATTR, follow_symlinks=True) == b"y"
    except OSError:
        return False


def list_names(directories: Sequence[Path]) -> set[str]:
    """The names that a directory shows which merges these."""
    hidden: set[str] = set()
    shown: set[str] = set()
    for directory in directories:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name in shown or entry.name in hidden:
                    continue
                gone = not entry.is_dir(follow_symlinks=False) and is_whiteout(entry.stat(follow_symlinks=False))
                (hidden if gone else shown).add(entry.name)
    return shown


def drop_idle_whiteouts(top: Path, below: Sequence[Path], whiteouts: Sequence[str]) -> None:
    """Remove the marks of a new layer in directories that merge with none below. They hide nothing, and overlayfs,
    which filters them only where directories merge, would list each as a file that cannot be opened."""
    merging: dict[str, Sequence[Path]] = {"": below}

    def merges_with(directory: str) -> Sequence[Path]:
        path = ""
        for name in filter(None, directory.split("/")):
            parent, path = path, joined(path, name)
            if path not in merging:
                found = find(merging[parent], name)
                merging[path] = found.directories if found and not is_opaque(top / path) else ()
        return merging[directory]

    for path in whiteouts:
        place = top / path
        if not merges_with(path.rpartition("/")[0]) and place.exists() and is_whiteout(place.lstat()):
            place.unlink()
