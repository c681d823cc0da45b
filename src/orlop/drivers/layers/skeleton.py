"""The files and directories that every container needs, in a layer between its image and its writable one.

What a mount will cover has to be there, and must not show as a change of the container's. As with Docker, an image's
own file in such a place gives way to an empty one, and its directory stays.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from orlop.drivers.layers.stack import copy_attributes, find

_DIRECTORIES = ("dev/pts", "dev/shm", "proc", "sys")
_FILES = (".dockerenv", "etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/console")
_LINKS = {"etc/mtab": "/proc/mounts"}


def write_skeleton(target: Path, below: Sequence[Path]) -> None:
    """Into the empty directory `target`, that will lie over the layers `below` (top first). May be repeated."""
    for path in _DIRECTORIES:
        _make_directories(target, below, path)
    for path in (*_FILES, *_LINKS):
        parent, _, name = path.rpartition("/")
        found = find(_make_directories(target, below, parent), name)
        place = target / path
        if (found and found.is_directory) or place.is_symlink() or place.exists():
            continue
        if path in _LINKS:
            place.symlink_to(_LINKS[path])
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755))
            place.chmod(0o755)


def _make_directories(target: Path, below: Sequence[Path], path: str) -> Sequence[Path]:
    """`path` and its parents in the target, each as the image has it; the image's directories there."""
    here, merging = target, tuple(below)
    for name in filter(None, path.split("/")):
        here = here / name
        found = find(merging, name)
        merging = found.directories if found else ()
        if not here.is_dir():
            here.mkdir(0o755)
            here.chmod(0o755)
            if found and found.is_directory:
                copy_attributes(found, here)
    return merging
