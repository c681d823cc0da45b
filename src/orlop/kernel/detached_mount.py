"""A file system mounted nowhere: reached by its descriptor alone, and gone when that is closed (fsopen, fsconfig,
fsmount; Linux 5.2). Whatever happens to this process, no mount stays behind. `mounts.move_mount` gives it a place.
"""

import os
from collections.abc import Mapping

from orlop.kernel.libc import LIBC, check

_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_FSPICK = 433
_CLOEXEC = 1
_FSPICK_CLOEXEC, _FSPICK_SYMLINK_NOFOLLOW = 1, 2
_SET_FLAG, _SET_STRING, _CREATE, _RECONFIGURE = 0, 1, 6, 7
_CWD = -100
_MOST_MESSAGE = 4096


def mount_detached(fs_type: str, source: str, options: Mapping[str, str] | None = None, attributes: int = 0) -> int:
    """The descriptor of the file system's top directory. An option without a value is a flag. `attributes`: those of
    mount_setattr(2). Raises OSError with what the kernel says about it."""
    context_fd = check(LIBC.syscall(_SYS_FSOPEN, fs_type.encode(), _CLOEXEC), "fsopen", fs_type)
    try:
        _configure(context_fd, _SET_STRING, "source", source)
        for key, value in (options or {}).items():
            _configure(context_fd, _SET_STRING if value else _SET_FLAG, key, value)
        _configure(context_fd, _CREATE, "", "")
        return check(LIBC.syscall(_SYS_FSMOUNT, context_fd, _CLOEXEC, attributes), "fsmount", source)
    except OSError as error:
        said = _messages(context_fd)
        if said:
            raise OSError(error.errno, f"{error.strerror} ({said})", source) from error
        raise
    finally:
        os.close(context_fd)


def reconfigure(path: str | os.PathLike[str], options: Mapping[str, str]) -> None:
    """Give the file system that is mounted there other options; what is not named stays."""
    flags = _FSPICK_CLOEXEC | _FSPICK_SYMLINK_NOFOLLOW
    context_fd = check(LIBC.syscall(_SYS_FSPICK, _CWD, os.fsencode(path), flags), "fspick", path)
    try:
        for key, value in options.items():
            _configure(context_fd, _SET_STRING, key, value)
        _configure(context_fd, _RECONFIGURE, "", "")
    finally:
        os.close(context_fd)


def _configure(context_fd: int, command: int, key: str, value: str) -> None:
    result = LIBC.syscall(
        _SYS_FSCONFIG,
        context_fd,
        command,
        key.encode() if key else None,
        os.fsencode(value) if value else None,
        0,
    )
    check(result, "fsconfig", key or "create")


def _messages(context_fd: int) -> str:
    """What the kernel has to say, one message a read."""
    lines = []
    try:
        while line := os.read(context_fd, _MOST_MESSAGE):
            lines.append(line.decode(errors="replace").strip().removeprefix("e ").removeprefix("w "))
    except OSError:
        pass
    return "; ".join(lines)
