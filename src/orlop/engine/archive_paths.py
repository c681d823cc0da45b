"""Paths inside a container as `docker cp` means them.

A path's last part, if it is a link, stands for the link itself; with "/" or "/." after it, for what it leads to. In
an archive the members are named from the last part as asked for: /d -> d, d/f; /d/. -> ., ./f; / -> /, /f.
"""

import errno
import os
import posixpath
import stat

from orlop.errors import Malformed
from orlop.kernel.openat2 import open_in_root
from orlop.model.value import dataclass

_MOST_LINKS = 40  # the kernel's own limit
_MOST_RACES = 32


@dataclass(frozen=True, slots=True)
class RequestedPath:
    cleaned: str  # absolute, without "." and "..", no "/" at its end
    follows: bool  # the last part's link is followed, and what is there must be a directory
    name: str  # how the last part is called in an archive: "/", "." or the last part


def parse_requested_path(path: str) -> RequestedPath:
    """As a client wrote it, absolute or not; ".." is taken by the word, before any link is looked at. Raises
    Malformed."""
    if "\0" in path:
        raise Malformed(f"path {path!r}", "no path holds a zero byte")
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    ends_with_dot = path == "." or path.endswith("/.")
    name = "." if ends_with_dot else posixpath.basename(cleaned) or "/"
    return RequestedPath(cleaned, path.endswith("/") or ends_with_dot or cleaned == "/", name)


def resolve(root_fd: int, path: str, follow_last: bool = True) -> str:
    """The path without links, "/" being `root_fd`, each link read in the tree itself. What does not exist resolves to
    the name that it would have. The answer is true for a moment only: open it with `open_resolved`."""
    done: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        target = _read_link(root_fd, "/".join([*done, part])) if todo or follow_last else None
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return "/" + "/".join(done)


def open_resolved(root_fd: int, path: str, flags: int, follow_last: bool = True) -> tuple[int, str]:
    """Open what `path` leads to in the tree; the descriptor and the path without links. Should somebody put a link
    where none was while we look, we look again."""
    for _ in range(_MOST_RACES):
        resolved = resolve(root_fd, path, follow_last)
        try:
            extra = 0 if follow_last else os.O_NOFOLLOW
            # A final link can be opened as such with O_PATH | O_NOFOLLOW, which forbidding links would refuse.
            return open_in_root(root_fd, resolved, flags | extra, no_symlinks=follow_last), resolved
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
    raise OSError(errno.ELOOP, "the path keeps changing", path)


def _read_link(root_fd: int, path: str) -> str | None:
    """None for what is no link, or is not there."""
    try:
        fd = open_in_root(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            return None
        return os.readlink("", dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise
    finally:
        os.close(fd)
