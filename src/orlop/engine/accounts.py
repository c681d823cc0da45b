"""Who a container's process runs as: `user[:group]` looked up in the container's own /etc/passwd and /etc/group.

Those files come from an image, so they are hostile until read: the path is resolved within the root file system, the
file must be a regular one (a FIFO would hold us up for ever, a device might act on being opened) and of a sane size.
They are parsed here; no program and no library of the container takes part.
"""

import os
import stat
from collections.abc import Iterator, Sequence

from orlop.errors import Malformed
from orlop.kernel.openat2 import open_in_root
from orlop.model.value import dataclass

MAXIMUM_ID = 2**31 - 1
MAXIMUM_FILE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int
    additional_gids: tuple[int, ...]  # the primary one first: a set-gid program must not be able to drop it
    home: str


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def find_account(rootfs_fd: int, user: str, group_add: Sequence[str] = ()) -> Account:
    """The account for `user` ("" = uid 0, "name", "uid", either with ":group" or ":gid") in the root file system
    open at `rootfs_fd`. A number that no file knows stands for itself; a name must be found. With an explicit group
    the user's memberships do not count. `group_add` are further groups by name or number.
    Raises Malformed with Docker's text."""
    user_part, _, group_part = user.partition(":")
    users = _parse_users(_read(rootfs_fd, "/etc/passwd"))
    groups = _parse_groups(_read(rootfs_fd, "/etc/group"))
    found = _find_user(users, user_part)
    gid = _find_group(groups, group_part).gid if group_part else found.gid
    member_of = [] if group_part or not found.name else [g.gid for g in groups if found.name in g.members]
    added = [_find_group(groups, name).gid for name in group_add]
    additional = tuple(dict.fromkeys([gid, *member_of, *added]))
    return Account(found.uid, gid, additional, found.home)


def _find_user(users: Sequence[_User], wanted: str) -> _User:
    number = _number(wanted or "0")
    for candidate in users:
        if candidate.uid == number or (wanted and candidate.name == wanted):
            return candidate
    if number is None:
        raise Malformed(f"unable to find user {wanted}", "no matching entries in passwd file")
    return _User("", _in_range(number), 0, "/")


def _find_group(groups: Sequence[_Group], wanted: str) -> _Group:
    number = _number(wanted)
    for candidate in groups:
        if candidate.gid == number or candidate.name == wanted:
            return candidate
    if number is None:
        raise Malformed(f"unable to find group {wanted}", "no matching entries in group file")
    return _Group("", _in_range(number), ())


def _number(text: str) -> int | None:
    """A decimal number, perhaps negative (which is out of range, not a name); None for anything else."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def _in_range(number: int) -> int:
    if not 0 <= number <= MAXIMUM_ID:
        raise Malformed("", f"uids and gids must be in range 0-{MAXIMUM_ID}")
    return number


def _parse_users(text: str) -> Sequence[_User]:
    return [
        _User(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/")
        for fields in _records(text, at_least=6)
        if _is_id(fields[2]) and _is_id(fields[3])
    ]


def _parse_groups(text: str) -> Sequence[_Group]:
    return [
        _Group(fields[0], int(fields[2]), tuple(name for name in fields[3].split(",") if name))
        for fields in _records(text, at_least=4)
        if _is_id(fields[2])
    ]


def _records(text: str, at_least: int) -> Iterator[list[str]]:
    """Lines of colon-separated fields. A line that makes no sense is passed over, as the C library does: guessing 0
    for an unreadable number would make somebody root."""
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= at_least and fields[0]:
            yield fields


def _is_id(text: str) -> bool:
    number = _number(text)
    return number is not None and 0 <= number <= MAXIMUM_ID


def _read(rootfs_fd: int, path: str) -> str:
    """The file's text; "" when there is none."""
    try:
        place = open_in_root(rootfs_fd, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode):
            raise Malformed(path, "is not a regular file in this container", "Use a numeric user with another image")
        if status.st_size > MAXIMUM_FILE_BYTES:
            raise Malformed(path, f"is larger than {MAXIMUM_FILE_BYTES >> 20} MiB in this container")
        # The descriptor is turned into a readable one by its /proc name: the very file that was looked at.
        with open(f"/proc/self/fd/{place}", "rb") as file:  # noqa: PTH123 - no path to speak of
            return file.read(MAXIMUM_FILE_BYTES + 1).decode(errors="replace")
    finally:
        os.close(place)
