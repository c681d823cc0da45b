"""The C library and raw system calls, with errno turned into OSError."""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

# Numbers of the generic table (include/uapi/asm-generic/unistd.h), the same on x86-64 and arm64 from 424 on.
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442


def check(result: int, call: str, *subjects: object) -> int:
    """`result` of a call, or the OSError that errno tells of, naming the call and what it was about."""
    if result < 0:
        number = ctypes.get_errno()
        about = " ".join(str(subject) for subject in subjects if subject not in ("", None))
        raise OSError(number, f"{call}: {os.strerror(number)}", about or None)
    return int(result)


def encoded(text: str | bytes | os.PathLike[str]) -> bytes:
    return os.fsencode(text)


def sync_file_system(fd: int) -> None:
    """syncfs(2): everything of the file system that `fd` is on survives a power cut."""
    check(LIBC.syncfs(fd), "syncfs")
