"""What the receiver's file system can keep of what a mirror brings: tried out there, and asked for here."""

import os
import stat
from collections.abc import Callable, Collection

from orlop.errors import Unsupported
from orlop.store.files import remove_tree_at
from orlop.store.mirror_facts import aspects_of
from orlop.store.mirror_moments import SECOND_NS
from orlop.store.mirror_words import Abilities, Aspect, Facts


class Kept:
    """At the sender."""

    def __init__(self, abilities: Abilities, forgone: Collection[Aspect]) -> None:
        self.forgone = frozenset(forgone)
        self.keeps_links = Aspect.HARD_LINKS not in {*abilities.lost, *forgone}
        self._made = abilities
        self._lost = frozenset(abilities.lost) - self.forgone

    def why_left_out(self, kind: int) -> str:
        if kind == stat.S_IFSOCK:
            return "it is a socket, which is of no use without who listens at it"
        if kind == stat.S_IFLNK and Aspect.SYMLINKS in self.forgone:
            return "it is a symbolic link, which cannot be kept there"
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK) and Aspect.SPECIAL in self.forgone:
            return "it is a device or fifo, which cannot be kept there"
        return ""

    def require(self, facts: Facts, path: bytes) -> None:
        """Raises Unsupported for what would be lost."""
        if not self._lost:
            return
        kind = stat.S_IFMT(facts.mode)
        mode = self._made.directory_mode if kind == stat.S_IFDIR else self._made.file_mode
        wanted = {Aspect.TIMES, *aspects_of(facts)}
        if (facts.uid, facts.gid) != self._made.owner:
            wanted.add(Aspect.OWNERS)
        if kind != stat.S_IFLNK and stat.S_IMODE(facts.mode) != mode:
            wanted.add(Aspect.MODES)
        if facts.mtime_ns % SECOND_NS:
            wanted.add(Aspect.NANOSECONDS)
        if kind == stat.S_IFLNK:
            wanted.add(Aspect.SYMLINKS)
        elif kind not in (stat.S_IFREG, stat.S_IFDIR):
            wanted.add(Aspect.SPECIAL)
        for aspect in sorted(wanted & self._lost):
            self.refuse(aspect, path)

    def require_links(self, path: bytes) -> None:
        if Aspect.HARD_LINKS in self._lost:
            self.refuse(Aspect.HARD_LINKS, path)

    def refuse(self, aspect: Aspect, path: bytes) -> None:
        shown = os.fsdecode(path) or "the top directory"
        hint = "Choose storage that keeps them, or say that they may be lost"
        raise Unsupported(f"copy {shown}", f"the new storage keeps no {aspect}", hint)


_PROBE = b".orlop-mirror-probe-"
_ODD_OWNER = (54321, 54322)
_ODD_NS = 1_234_567_890_123_456_789
_ACL = bytes.fromhex("02000000 01000600ffffffff 0200040031d40000 04000400ffffffff 10000400ffffffff 20000000ffffffff")
_REFUSALS = (OSError, ValueError, OverflowError)


def try_out(top_fd: int, there: list[bytes]) -> Abilities:
    """What the file system at the top keeps: tried in a directory of its own, which is gone after."""
    name = _PROBE + os.urandom(8).hex().encode()
    os.mkdir(name, 0o700, dir_fd=top_fd)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top_fd)
        try:
            return _try_in(fd, there)
        finally:
            os.close(fd)
    finally:
        remove_tree_at(top_fd, os.fsdecode(name), "what was tried out")


def _try_in(directory: int, there: list[bytes]) -> Abilities:
    file = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        os.write(file, b"tried")
        made, made_directory = os.fstat(file), os.fstat(directory)
        lost = {aspect for aspect, keeps in _TRIALS.items() if not _holds(keeps, file, directory)}
        if Aspect.TIMES in lost:
            lost.add(Aspect.NANOSECONDS)
        return Abilities(
            tuple(sorted(lost)),
            (made.st_uid, made.st_gid),
            stat.S_IMODE(made.st_mode),
            stat.S_IMODE(made_directory.st_mode),
            there,
        )
    finally:
        os.close(file)


def _holds(keeps: Callable[[int, int], bool], file: int, directory: int) -> bool:
    try:
        return keeps(file, directory)
    except _REFUSALS:
        return False


def _keeps_owners(file: int, directory: int) -> bool:
    if os.geteuid() != 0:
        return True  # nobody but root may give files away: what is one's own is kept
    os.fchown(file, *_ODD_OWNER)
    details = os.fstat(file)
    os.fchown(file, 0, 0)
    return (details.st_uid, details.st_gid) == _ODD_OWNER


def _keeps_modes(file: int, directory: int) -> bool:
    for fd in (file, directory):
        for mode in (0o751, 0o700):
            os.fchmod(fd, mode)
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
                return False
    return True


def _times(fd: int) -> int:
    os.utime(fd, ns=(_ODD_NS, _ODD_NS))
    return os.fstat(fd).st_mtime_ns


def _keeps_times(file: int, directory: int) -> bool:
    return all(_times(fd) // SECOND_NS == _ODD_NS // SECOND_NS for fd in (file, directory))


def _keeps_nanoseconds(file: int, directory: int) -> bool:
    return all(_times(fd) == _ODD_NS for fd in (file, directory))


def _keeps_xattrs(file: int, directory: int) -> bool:
    os.setxattr(file, "user.orlop", b"tried")
    return os.getxattr(file, "user.orlop") == b"tried"


def _keeps_acls(file: int, directory: int) -> bool:
    os.setxattr(file, "system.posix_acl_access", _ACL)
    return os.getxattr(file, "system.posix_acl_access") == _ACL


def _keeps_links(file: int, directory: int) -> bool:
    os.link("file", "link", src_dir_fd=directory, dst_dir_fd=directory)
    return os.lstat("link", dir_fd=directory).st_nlink == 2


def _keeps_symlinks(file: int, directory: int) -> bool:
    os.symlink("nowhere", "symlink", dir_fd=directory)
    return os.readlink("symlink", dir_fd=directory) == "nowhere"


def _keeps_special(file: int, directory: int) -> bool:
    os.mknod("fifo", stat.S_IFIFO | 0o600, dir_fd=directory)
    return stat.S_ISFIFO(os.lstat("fifo", dir_fd=directory).st_mode)


_TRIALS: dict[Aspect, Callable[[int, int], bool]] = {
    Aspect.OWNERS: _keeps_owners,
    Aspect.MODES: _keeps_modes,
    Aspect.TIMES: _keeps_times,
    Aspect.NANOSECONDS: _keeps_nanoseconds,
    Aspect.XATTRS: _keeps_xattrs,
    Aspect.ACLS: _keeps_acls,
    Aspect.HARD_LINKS: _keeps_links,
    Aspect.SYMLINKS: _keeps_symlinks,
    Aspect.SPECIAL: _keeps_special,
}
