"""Directories below the top of one side of a mirror, opened over no link and no mount; paths put together."""

import os

from orlop.kernel.openat2 import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_BYTES = 4000  # the kernel takes 4095 in one call


def open_directory(top_fd: int, path: bytes) -> int:
    """Raises OSError: EXDEV where something is mounted on the way."""
    if len(path) <= _MOST_BYTES:
        return open_beneath(top_fd, path or b".", _DIRECTORY, no_symlinks=True, no_xdev=True)
    fd = os.dup(top_fd)
    while path:
        cut = len(path) if len(path) <= _MOST_BYTES else path.rfind(b"/", 0, _MOST_BYTES)
        try:
            below = open_beneath(fd, path[:cut] if cut >= 0 else path, _DIRECTORY, no_symlinks=True, no_xdev=True)
        finally:
            os.close(fd)
        fd, path = below, path[cut + 1 :] if cut >= 0 else b""
    return fd


def joined(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """Its directory, and its name there."""
    directory, _, name = path.rpartition(b"/")
    return directory, name
