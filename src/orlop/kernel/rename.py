"""renameat2(2): a rename that never replaces."""

import errno
import os

from orlop.kernel.libc import LIBC, check

RENAME_NOREPLACE = 1


def rename_no_replace(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename between two directories. FileExistsError when `target` is there; OSError(EINVAL) where the file system
    cannot promise that (some network ones)."""
    result = LIBC.renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), RENAME_NOREPLACE)
    check(result, "renameat2", source, target)


def rename_if_absent(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """`rename_no_replace`, and where the file system has no such thing, a look and a rename."""
    try:
        rename_no_replace(source_fd, source, target_fd, target)
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    try:
        os.lstat(target, dir_fd=target_fd)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
