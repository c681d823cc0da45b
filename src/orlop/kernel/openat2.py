"""openat2(2): open a path that a stranger named, without leaving a root.

`open_beneath` refuses every way out (.., absolute links): EXDEV. `open_in_root` takes the root for "/", as a process
in a chroot would, so absolute links of a container's tree resolve inside it. Magic links (/proc/*/fd/*) are refused
by both. EAGAIN, the kernel's word for a rename that raced with "..", is tried again a few times.
"""

import ctypes
import errno
import os

from orlop.kernel.libc import LIBC, SYS_OPENAT2, check, encoded

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_TRIES = 32


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_beneath(
    root_fd: int, path: str | bytes, flags: int, mode: int = 0, *, no_symlinks: bool = False, no_xdev: bool = False
) -> int:
    """A descriptor (close-on-exec) of `path` beneath the directory `root_fd`."""
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    resolve |= RESOLVE_NO_SYMLINKS if no_symlinks else 0
    resolve |= RESOLVE_NO_XDEV if no_xdev else 0
    return _openat2(root_fd, path, flags, mode, resolve)


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0, *, no_symlinks: bool = False) -> int:
    """A descriptor (close-on-exec) of `path`, absolute or not, with `root_fd` as the root directory."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    return _openat2(root_fd, path, flags, mode, resolve | (RESOLVE_NO_SYMLINKS if no_symlinks else 0))


def open_without_links(path: str, flags: int) -> int:
    """A descriptor (close-on-exec) of an absolute path, no part of which is a link: OSError(ELOOP) where one is."""
    slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(slash, path.lstrip("/") or ".", flags, no_symlinks=True)
    finally:
        os.close(slash)


def _openat2(root_fd: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    # Unlike openat, openat2 refuses a mode without O_CREAT or O_TMPFILE.
    creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
    how = _OpenHow(flags | os.O_CLOEXEC, mode if creates else 0, resolve)
    raw = encoded(path) or b"."
    if b"\0" in raw:
        raise ValueError("embedded null byte")  # C would open what stands before it; os.open refuses it in these words
    for _ in range(_TRIES):
        fd = LIBC.syscall(SYS_OPENAT2, root_fd, raw, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0 or ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    return check(fd, "openat2", os.fsdecode(raw))
