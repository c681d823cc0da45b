"""What an entry of a mirrored tree is besides its bytes: read from it, and given to its copy.

Always through a descriptor, so that nobody can slip another entry under it; of what is not opened (links, devices,
fifos) through one that is only a place (O_PATH), by its name in /proc.
"""

import errno
import os
import stat
from collections.abc import Collection

import msgspec

from orlop.archive.attributes import SHADOWS
from orlop.model.value import dataclass
from orlop.store.mirror_words import Aspect, Facts

_NEVER = SHADOWS | {"security.selinux"}  # the label is a matter of the host
_ACLS = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_WITHOUT = (errno.EOPNOTSUPP, errno.ENODATA, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry that is open, as it was when it was looked at."""

    fd: int
    details: os.stat_result
    is_place: bool  # O_PATH only

    @property
    def path(self) -> str | int:
        return f"/proc/self/fd/{self.fd}" if self.is_place else self.fd


def facts_of(entry: Opened) -> Facts:
    details = entry.details
    kind = stat.S_IFMT(details.st_mode)
    return Facts(
        details.st_mode,
        details.st_uid,
        details.st_gid,
        details.st_mtime_ns,
        details.st_size if kind == stat.S_IFREG else 0,
        details.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0,
        os.fsencode(os.readlink("", dir_fd=entry.fd)) if kind == stat.S_IFLNK else b"",
        _xattrs_of(entry.path),
    )


def _xattrs_of(path: str | int) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for name in _names_of(path):
        try:
            found.append((os.fsencode(name), os.getxattr(path, name)))
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
    return tuple(sorted(found))


def _names_of(path: str | int) -> list[str]:
    try:
        return [name for name in os.listxattr(path) if name not in _NEVER]
    except OSError as error:
        if error.errno in (*_WITHOUT, errno.EPERM):
            return []
        raise


def give(entry: Opened, facts: Facts, atime_ns: int, forgone: Collection[Aspect]) -> None:
    """Owner, attributes, mode, times, in the one order that works: chown clears set-id bits and capabilities. Only what
    is not so already. Raises OSError, ValueError or OverflowError for what cannot be."""
    path, made = entry.path, entry.details
    is_link = stat.S_ISLNK(made.st_mode)
    is_given = (made.st_uid, made.st_gid) != (facts.uid, facts.gid) and Aspect.OWNERS not in forgone
    if is_given:
        os.chown(path, facts.uid, facts.gid)
    has_more = _give_xattrs(path, facts, forgone)
    is_moded = stat.S_IMODE(made.st_mode) != stat.S_IMODE(facts.mode) or facts.mode & 0o6000
    if not is_link and (is_given or has_more or is_moded) and Aspect.MODES not in forgone:
        os.chmod(path, stat.S_IMODE(facts.mode))  # noqa: PTH101 - of a descriptor
    if Aspect.TIMES not in forgone:
        os.utime(path, ns=(atime_ns, facts.mtime_ns))


def _give_xattrs(path: str | int, facts: Facts, forgone: Collection[Aspect]) -> bool:
    """Whether there are any, or were. A directory may have given its own to what was made in it."""
    there = _names_of(path)
    wanted = [(os.fsdecode(name), value) for name, value in facts.xattrs]
    names = {name for name, _ in wanted}
    for name in there:
        if name not in names and _aspect_of(name) not in forgone:
            os.removexattr(path, name)
    for name, value in wanted:
        if _aspect_of(name) not in forgone and name not in _NEVER:
            os.setxattr(path, name, value)
    return bool(there or wanted)


def _aspect_of(name: str) -> Aspect:
    return Aspect.ACLS if name in _ACLS else Aspect.XATTRS


def aspects_of(facts: Facts) -> set[Aspect]:
    """Which of the extended ones it has."""
    return {_aspect_of(os.fsdecode(name)) for name, _ in facts.xattrs}


def reduced(facts: Facts, forgone: Collection[Aspect]) -> Facts:
    """Without what nobody insists on, for comparing."""
    if not forgone:
        return facts
    mtime_ns = facts.mtime_ns
    if Aspect.TIMES in forgone:
        mtime_ns = 0
    elif Aspect.NANOSECONDS in forgone:
        mtime_ns = mtime_ns // 10**9 * 10**9
    return msgspec.structs.replace(
        facts,
        uid=0 if Aspect.OWNERS in forgone else facts.uid,
        gid=0 if Aspect.OWNERS in forgone else facts.gid,
        mode=stat.S_IFMT(facts.mode) if Aspect.MODES in forgone else facts.mode,
        mtime_ns=mtime_ns,
        xattrs=tuple(each for each in facts.xattrs if _aspect_of(os.fsdecode(each[0])) not in forgone),
    )


def difference(wanted: Facts, found: Facts) -> str:
    """In words; "" when there is none."""
    if stat.S_IFMT(wanted.mode) != stat.S_IFMT(found.mode):
        return "it is something of another kind"
    is_link = stat.S_ISLNK(wanted.mode)
    told = (
        ("its size", wanted.size, found.size),
        ("its owner", f"{wanted.uid}:{wanted.gid}", f"{found.uid}:{found.gid}"),
        ("its mode", oct(wanted.mode), oct(wanted.mode if is_link else found.mode)),
        ("its time of change", wanted.mtime_ns, found.mtime_ns),
        ("its device number", wanted.device, found.device),
        ("what it points to", os.fsdecode(wanted.target), os.fsdecode(found.target)),
        ("its extended attributes", _shown(wanted), _shown(found)),
    )
    for what, one, other in told:
        if one != other:
            return f"{what} is {other!s} and not {one!s}"
    return "" if is_link or wanted == found else "its attributes differ"


def _shown(facts: Facts) -> dict[str, str]:
    return {os.fsdecode(name): value[:64].hex() for name, value in facts.xattrs}
