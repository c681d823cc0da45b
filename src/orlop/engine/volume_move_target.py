"""Looking at the directory that a volume moves to, before anything is copied: is there room, is it empty."""

import os
import stat
from collections.abc import Mapping

from orlop.errors import Conflict
from orlop.kernel.filesystems import filesystem_name
from orlop.kernel.mount_users import Place
from orlop.model.sizes import describe_size
from orlop.model.value import dataclass

_FEW = 3
_EXT_ROOT = 2  # the number of its top directory
_OWNER = ("uid", "gid", "mode")


def refuse_within(subject: str, source: Place, target: Place) -> None:
    """Raises Conflict where one is in the other: a copy would be copied without end."""
    paths = [f"{place.path.rstrip('/')}/" for place in (source, target)]
    if source.device == target.device and (paths[0].startswith(paths[1]) or paths[1].startswith(paths[0])):
        raise Conflict(subject, "the target is a part of the volume, or the volume of it", "Choose another place")


def check_target(subject: str, target_fd: int, size_bytes: int) -> None:
    """Raises Conflict where it cannot take as much (-1: nobody counted), or holds something."""
    details = os.fstatvfs(target_fd)
    if details.f_flag & os.ST_RDONLY:
        raise Conflict(subject, "the target cannot be written to: its options make it read-only", "Leave that out")
    there = sorted(set(os.listdir(target_fd)) - passed_over(target_fd))
    if there:
        some = ", ".join(there[:_FEW]) + (", ..." if len(there) > _FEW else "")
        hint = "Choose an empty place; or look at it, it may be what a move that was cut off had copied, and delete it"
        raise Conflict(subject, f"the target holds something already: {some}", hint)
    room = details.f_bavail * details.f_frsize
    if details.f_blocks > 0 and room < size_bytes:
        why = f"the target has room for {describe_size(room)}, and the volume holds {describe_size(size_bytes)}"
        raise Conflict(subject, why, "Give it a larger one")


def passed_over(top_fd: int) -> set[str]:
    """What is nobody's data in a directory that is the top of a file system of its own."""
    is_ext = filesystem_name(top_fd) == "extfs" and os.fstat(top_fd).st_ino == _EXT_ROOT
    return {"lost+found"} if is_ext else set()


@dataclass(frozen=True, slots=True)
class AskedTop:
    """What the options asked for say of the top directory, whatever the volume has there: -1 where they do not."""

    uid: int
    gid: int
    mode: int

    def give(self, fd: int) -> None:
        os.fchown(fd, self.uid, self.gid)  # first: it may clear bits of the mode
        if self.mode >= 0:
            os.fchmod(fd, self.mode)


def asked_top(target_fd: int, options: Mapping[str, str]) -> AskedTop | None:
    """As the driver has made it."""
    if options.get("type") or options.get("device"):
        return None  # these words are the file system's
    words = {*options, *(word.partition("=")[0].strip() for word in options.get("o", "").split(","))}
    if words.isdisjoint(_OWNER):
        return None
    made = os.fstat(target_fd)
    found = {"uid": made.st_uid, "gid": made.st_gid, "mode": stat.S_IMODE(made.st_mode)}
    return AskedTop(*(found[word] if word in words else -1 for word in _OWNER))
