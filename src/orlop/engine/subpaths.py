"""A part of a volume as a mount's source."""

import errno
import os
from pathlib import Path

from orlop.errors import Malformed, NotFound
from orlop.kernel.openat2 import open_beneath


def resolve_subpath(base: Path, subpath: str) -> Path:
    """The path of `subpath` below `base`. Links are followed as long as they stay inside. Raises NotFound when it is
    not there: a subpath is never made."""
    base_fd = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(base_fd, subpath, os.O_PATH)
    except OSError as error:
        if error.errno == errno.EXDEV:
            why = f"path concatenation escapes the base directory, base: {base}, subpath: {subpath}"
            raise Malformed("", why) from error
        why = f"cannot access path {base / subpath}: {os.strerror(error.errno or 0)}"
        raise NotFound("", why, "Create it in the volume first") from error
    finally:
        os.close(base_fd)
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)
