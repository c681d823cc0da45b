"""Owner, mode, attributes and times of something just made, set through its descriptor, so that nobody can slip
another file under it. Links, devices and fifos have no descriptor to write through: O_PATH and /proc/self/fd serve."""

import errno
import os
import stat
from collections.abc import Mapping

from orlop.archive import acl
from orlop.archive.member import Member

_RESERVED = "trusted.overlay."  # overlayfs' own: `redirect` from an archive could show any directory of the disk
DEFAULT_ACL = "system.posix_acl_default"
# How XFS shows its ACLs once more, besides system.posix_acl_*; on another file system they would be mere bytes.
SHADOWS = frozenset({"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"})
_NOT_KEPT_HERE = (errno.ENOTSUP, errno.EPERM)


def apply(
    fd: int, details: os.stat_result, member: Member, owner: tuple[int, int] | None, exact: bool = False
) -> list[str]:
    """All but the time, in the one order that works: chown takes setuid bits and capabilities away. `exact`: overlayfs'
    own attributes too. Returns the extended attributes that this file system cannot keep."""
    uid, gid = owner or (member.uid, member.gid)
    if (details.st_uid, details.st_gid) != (uid, gid):
        os.chown(fd, uid, gid)
    if stat.S_IMODE(details.st_mode) != member.mode or member.mode & 0o6000:
        os.chmod(fd, member.mode)
    return set_xattrs(fd, member.xattrs, exact) if member.xattrs else []


def apply_to_special(fd: int, member: Member, owner: tuple[int, int] | None, exact: bool = False) -> list[str]:
    """The same for an O_PATH descriptor, time included."""
    path = f"/proc/self/fd/{fd}"
    details = os.fstat(fd)
    uid, gid = owner or (member.uid, member.gid)
    if (details.st_uid, details.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
    if not stat.S_ISLNK(details.st_mode):
        os.chmod(path, member.mode)
    lost = set_xattrs(path, member.xattrs, exact) if member.xattrs else []
    os.utime(path, ns=(member.mtime_ns, member.mtime_ns))
    return lost


def _decoded(name: str) -> str:
    return name.replace("%3D", "=").replace("%25", "%") if "%" in name else name


def has_default_acl(xattrs: Mapping[str, bytes]) -> bool:
    return DEFAULT_ACL in xattrs or "SCHILY.acl.default" in xattrs


def split_default_acl(xattrs: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a directory gets at once, and what it gets last."""
    last = (DEFAULT_ACL, "SCHILY.acl.default")
    return (
        {key: value for key, value in xattrs.items() if key not in last},
        {key: value for key, value in xattrs.items() if key in last},
    )


def _with_acls(xattrs: Mapping[str, bytes], exact: bool, lost: list[str]) -> Mapping[str, bytes]:
    """Lists written as text become attributes, in exact copies. Docker's tools pass them over, and so do images."""
    if acl.KEYS.isdisjoint(xattrs):
        return xattrs
    found = {}
    for key, value in xattrs.items():
        if key not in acl.KEYS:
            found[key] = value
        elif exact:
            try:
                found.setdefault(acl.attribute_of(key), acl.parse_acl(value.decode()))
            except ValueError:
                lost.append(key)
    return found


def set_xattrs(target: int | str, xattrs: Mapping[str, bytes], exact: bool = False) -> list[str]:
    lost: list[str] = []
    for name, value in _with_acls(xattrs, exact, lost).items():
        if (name.startswith(_RESERVED) and not exact) or name in SHADOWS:
            continue
        try:
            os.setxattr(target, _decoded(name) if exact else name, value)
        except OSError as error:
            if error.errno not in _NOT_KEPT_HERE:
                raise
            lost.append(name)
    return lost
