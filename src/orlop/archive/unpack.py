"""A tar into a directory, nothing of it outside.

Every directory is found beneath the root (tree.py); everything in it is made by a name of one part, exclusively, and
finished through its descriptor. What is there already makes way as with tar: only a directory that meets a directory
stays. Directories get their times when all members are in place.

A layer's whiteouts become what the layer driver wants of them: overlayfs' markers, or the removal of what a copy of
the parent brought along. `docker cp` knows no whiteouts.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import field, replace
from enum import StrEnum
from typing import Never

from orlop.archive import attributes
from orlop.archive.filling import FilledAhead, fill
from orlop.archive.member import Member, MemberKind, Segment
from orlop.archive.names import WhiteoutKind, parse_whiteout, split_link_target, split_name
from orlop.archive.reader import ArchiveReader, TarReader
from orlop.archive.tree import OPAQUE_XATTR, Directory, Tree, is_whiteout, joined
from orlop.errors import Conflict, HostFailure, Malformed
from orlop.model.value import dataclass
from orlop.store.files import remove_tree_at

Progress = Callable[[int], None]  # called with the number of archive bytes done so far

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PROGRESS_BYTES = 1 << 20
_TRIES = 8  # to make a file where a container's process keeps making another
_FORMATS = {
    MemberKind.SYMLINK: stat.S_IFLNK,
    MemberKind.FIFO: stat.S_IFIFO,
    MemberKind.CHARACTER_DEVICE: stat.S_IFCHR,
    MemberKind.BLOCK_DEVICE: stat.S_IFBLK,
}
_ARCHIVES_FAULT = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EISDIR,
    errno.EXDEV,
    errno.ENAMETOOLONG,
    errno.EINVAL,
)


class Whiteouts(StrEnum):
    MARK = "mark"  # as overlayfs does
    APPLY = "apply"  # remove what they hide
    IGNORE = "ignore"  # names like all others


@dataclass(frozen=True, slots=True)
class Options:
    whiteouts: Whiteouts = Whiteouts.IGNORE
    keep_kinds: bool = False  # refuse to replace a directory by something else, and the other way round
    owner: tuple[int, int] | None = None  # everything belongs to this user and group
    base: tuple[str, ...] = ()  # the archive's root is this directory; links in it still take the root for "/"
    exact: bool = False  # a tree as it was: the root's own owner, mode and times too, and overlayfs' attributes


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """Where a member's data came to lie: beneath the root, links resolved."""

    path: str
    data_offset: int
    stored_bytes: int
    segments: tuple[Segment, ...] | None


@dataclass(slots=True)
class Unpacked:
    size_bytes: int = 0  # sum of the regular files' sizes
    files: list[PlacedFile] = field(default_factory=list)  # those that are still in place, in the archive's order
    lost_xattrs: set[str] = field(default_factory=set)  # names that the file system cannot keep
    whiteouts: list[str] = field(default_factory=list)  # marks that were made, some perhaps replaced since
    implied: list[str] = field(default_factory=list)  # directories that no member described, some perhaps gone since
    hides_everything_below: bool = False  # an opaque root, which overlayfs itself does not honour


def unpack(
    archive: ArchiveReader, root_fd: int, options: Options, progress: Progress | None = None, subject: str = "archive"
) -> Unpacked:
    """Raises Malformed for a hostile or broken archive, HostFailure for the disk. What was made so far stays."""
    # Only a layer is worth looking ahead: what `docker cp` brings should appear in order.
    layer = isinstance(archive, TarReader) and options.whiteouts is not Whiteouts.IGNORE
    ahead = FilledAhead(archive, root_fd) if layer and isinstance(archive, TarReader) else None
    unpacker = _Unpacker(archive, root_fd, options, subject, ahead)
    reported = 0
    with unpacker.tree, ahead or nullcontext():
        for member in ahead.members() if ahead else archive:
            unpacker.place(member)
            if ahead:
                ahead.pass_over(member)
            if progress and member.next_offset - reported >= _PROGRESS_BYTES:
                reported = member.next_offset
                progress(reported)
        unpacker.finish()
    return unpacker.result


class _Unpacker:
    def __init__(
        self, archive: ArchiveReader, root_fd: int, options: Options, subject: str, ahead: FilledAhead | None
    ) -> None:
        self.tree = Tree(
            root_fd,
            opens_whiteouts=options.whiteouts is Whiteouts.MARK,
            is_foreign=self._is_foreign if options.whiteouts is Whiteouts.APPLY else None,
        )
        self.result = Unpacked()
        self._archive = archive
        self._ahead = ahead
        self._options = options
        self._subject = subject
        self._times: dict[str, int] = {}  # of directories
        self._default_acls: dict[str, dict[str, bytes]] = {}  # the same; set last, because what is made inherits them
        self._made: set[str] = set()  # by this archive; kept only where whiteouts are applied
        self._placed: list[PlacedFile] = []
        self._gone: dict[str, int] = {}  # path -> how many files were placed before it went

    def place(self, member: Member) -> None:
        try:
            self._place(member)
        except ValueError as error:
            raise Malformed(self._subject, f"member {member.name!r}: {error}") from error
        except OSError as error:
            self._blame(member, error)

    def finish(self) -> None:
        for path, mtime_ns in self._times.items():
            parts = path.split("/")
            try:
                if not path or path in self._default_acls:
                    self._finish_last(parts if path else [], mtime_ns)
                    continue
                parent = self.tree.find(parts[:-1], create=False)
                os.utime(parts[-1], ns=(mtime_ns, mtime_ns), dir_fd=parent.fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _ARCHIVES_FAULT:  # else it was replaced by a later member
                    raise HostFailure(f"unpacking {path!r}", error.strerror or str(error)) from error
        self.result.implied = [path for path in self.tree.implied if path not in self._times]
        self.result.files = [file for index, file in enumerate(self._placed) if self._is_in_place(index, file.path)]

    def _finish_last(self, parts: list[str], mtime_ns: int) -> None:
        directory = self.tree.find(parts, create=False)
        if acl := self._default_acls.get("/".join(parts)):
            self.result.lost_xattrs.update(attributes.set_xattrs(directory.fd, acl, self._options.exact))
        os.utime(directory.fd, ns=(mtime_ns, mtime_ns))

    def _blame(self, member: Member, error: OSError) -> Never:
        why = error.strerror or str(error)
        if error.errno in _ARCHIVES_FAULT:
            raise Malformed(self._subject, f"member {member.name!r} cannot be made: {why}") from error
        raise HostFailure(f"unpacking {member.name!r}", why) from error

    def _place(self, member: Member) -> None:
        parts = split_name(member.name)
        if not parts:
            # The root itself keeps what it has, as with Docker: a tar of a private directory must not lock it.
            if self._options.exact and member.kind is MemberKind.DIRECTORY:
                self._finish_directory(self.tree.root.fd, "", member)
            return
        parts = [*self._options.base, *parts]
        if self._options.whiteouts is not Whiteouts.IGNORE:
            if (whiteout := parse_whiteout(parts)) is not None:
                if whiteout.kind is not WhiteoutKind.METADATA:
                    self._white_out(self.tree.find(parts[:-1], create=True), whiteout.name)
                return
            if member.kind is MemberKind.CHARACTER_DEVICE and not member.device_major and not member.device_minor:
                self._white_out(self.tree.find(parts[:-1], create=True), parts[-1])
                return
        if member.kind is MemberKind.HARD_LINK:
            self._hard_link(member, parts)
            return
        parent = self.tree.find(parts[:-1], create=True)
        path = joined(parent.path, parts[-1])
        match member.kind:
            case MemberKind.FILE:
                self._file(member, parent, parts[-1], path)
            case MemberKind.DIRECTORY:
                self._directory(member, parent, parts, path)
            case _:
                self._special(member, parent, parts[-1], path)
        self._note_made(path)

    def _is_foreign(self, path: str) -> bool:
        """Whether the copy of the parent brought it along: a layer is what its own members make, no more."""
        return path not in self._made

    def _note_made(self, path: str) -> None:
        if self._options.whiteouts is Whiteouts.APPLY:
            while path and path not in self._made:
                self._made.add(path)
                path = path.rpartition("/")[0]

    def _file(self, member: Member, parent: Directory, name: str, path: str) -> None:
        fd = self._ahead.take(member) if self._ahead else None
        try:
            if fd is None:
                fd = self._create(parent, name, path, member)
                details = os.fstat(fd)
                fill(self._archive, fd, member)
            else:
                self._give_name(fd, parent, name, path, member)
                details = os.fstat(fd)
            self._apply(fd, details, member)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            if fd is not None:
                os.close(fd)
        self.result.size_bytes += member.size_bytes
        if member.stored_bytes and self._options.whiteouts is not Whiteouts.IGNORE:  # a layer's: for its recipe
            self._placed.append(PlacedFile(path, member.data_offset, member.stored_bytes, member.segments))

    def _give_name(self, fd: int, parent: Directory, name: str, path: str, member: Member) -> None:
        for _ in range(_TRIES):
            try:
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=parent.fd, follow_symlinks=True)
                return
            except FileExistsError:
                self._make_way(parent, name, path, member)
        raise Conflict(f"unpacking {member.name!r}", "another process keeps creating that file")

    def _create(self, parent: Directory, name: str, path: str, member: Member) -> int:
        for _ in range(_TRIES):
            try:
                return os.open(name, _CREATE, member.mode & 0o777, dir_fd=parent.fd)
            except FileExistsError:
                self._make_way(parent, name, path, member)
        raise Conflict(f"unpacking {member.name!r}", "another process keeps creating that file")

    def _directory(self, member: Member, parent: Directory, parts: list[str], path: str) -> None:
        name = parts[-1]
        replaces_whiteout = False
        for _ in range(_TRIES):
            try:
                os.mkdir(name, 0o700, dir_fd=parent.fd)
            except FileExistsError:
                replaces_whiteout = self._make_way(parent, name, path, member) or replaces_whiteout
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=parent.fd)
                break
            except FileNotFoundError:
                continue
        else:
            raise Conflict(f"unpacking {member.name!r}", "another process keeps replacing that directory")
        self.tree.keep("/".join(parts), Directory(fd, path))
        if replaces_whiteout:
            os.setxattr(fd, OPAQUE_XATTR, b"y")
        self._finish_directory(fd, path, member)

    def _finish_directory(self, fd: int, path: str, member: Member) -> None:
        if member.xattrs and attributes.has_default_acl(member.xattrs):
            xattrs, self._default_acls[path] = attributes.split_default_acl(member.xattrs)
            member = replace(member, xattrs=xattrs)
        else:
            self._default_acls.pop(path, None)
        self._apply(fd, os.fstat(fd), member)
        self._times[path] = member.mtime_ns

    def _apply(self, fd: int, details: os.stat_result, member: Member) -> None:
        options = self._options
        self.result.lost_xattrs.update(attributes.apply(fd, details, member, options.owner, options.exact))

    def _special(self, member: Member, parent: Directory, name: str, path: str) -> None:
        """Links, devices, fifos: what is made by name and finished through an O_PATH descriptor."""
        for _ in range(_TRIES):
            try:
                self._make_special(member, parent, name)
                break
            except FileExistsError:
                self._make_way(parent, name, path, member)
        else:
            raise Conflict(f"unpacking {member.name!r}", "another process keeps creating that file")
        fd = os.open(name, _PATH, dir_fd=parent.fd)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != _FORMATS[member.kind]:
                raise Conflict(f"unpacking {member.name!r}", "another process replaced it at once")
            self.result.lost_xattrs.update(
                attributes.apply_to_special(fd, member, self._options.owner, self._options.exact)
            )
        finally:
            os.close(fd)

    def _make_special(self, member: Member, parent: Directory, name: str) -> None:
        match member.kind:
            case MemberKind.SYMLINK:
                if not member.link_name:
                    raise ValueError("it is a symbolic link to nothing")
                os.symlink(member.link_name, name, dir_fd=parent.fd)
            case MemberKind.FIFO:
                os.mkfifo(name, member.mode & 0o777, dir_fd=parent.fd)
            case _:
                device = os.makedev(member.device_major, member.device_minor)
                os.mknod(name, _FORMATS[member.kind] | member.mode & 0o777, device, dir_fd=parent.fd)

    def _hard_link(self, member: Member, parts: list[str]) -> None:
        target = [*self._options.base, *split_link_target(member.link_name)]
        if self._options.whiteouts is not Whiteouts.IGNORE and parse_whiteout(target) is not None:
            raise ValueError(f"it is a hard link to the whiteout {member.link_name!r}")
        try:
            source = self.tree.find(target[:-1], create=False)
            there = os.lstat(target[-1], dir_fd=source.fd)
            missing = self._options.whiteouts is Whiteouts.APPLY and self._is_foreign(joined(source.path, target[-1]))
        except FileNotFoundError:
            missing = True
        if missing:
            raise ValueError(f"it is a hard link to {member.link_name!r}, which is not in the archive")
        if stat.S_ISDIR(there.st_mode):
            raise ValueError(f"it is a hard link to the directory {member.link_name!r}")
        parent = self.tree.find(parts[:-1], create=True)
        path = joined(parent.path, parts[-1])
        self._note_made(path)
        for _ in range(_TRIES):
            try:
                os.link(target[-1], parts[-1], src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)
                return
            except FileExistsError:
                here = os.lstat(parts[-1], dir_fd=parent.fd)
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return
                self._make_way(parent, parts[-1], path, member)
        raise Conflict(f"unpacking {member.name!r}", "another process keeps creating that file")

    def _make_way(self, parent: Directory, name: str, path: str, member: Member) -> bool:
        """Remove what is at a name, unless directory meets directory. True when it was an overlay whiteout."""
        try:
            details = os.lstat(name, dir_fd=parent.fd)
        except FileNotFoundError:
            return False
        is_directory = stat.S_ISDIR(details.st_mode)
        wants_directory = member.kind is MemberKind.DIRECTORY
        if is_directory and wants_directory:
            return False
        if self._options.keep_kinds and is_directory != wants_directory:
            kinds = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
            raise Conflict("", f'cannot overwrite {kinds[0]} "/{path}" with {kinds[1]} "{member.name}"')
        self._remove(parent, name, path, is_directory)
        return self._options.whiteouts is Whiteouts.MARK and is_whiteout(details)

    def _remove(self, parent: Directory, name: str, path: str, is_directory: bool) -> None:
        if is_directory:
            remove_tree_at(parent.fd, name, f"/{path}")
        else:
            os.unlink(name, dir_fd=parent.fd)
        self.tree.forget(path)
        self._gone[path] = len(self._placed)

    def _is_in_place(self, index: int, path: str) -> bool:
        if not self._gone:
            return True
        while path:
            if self._gone.get(path, -1) > index:
                return False
            path = path.rpartition("/")[0]
        return True

    def _white_out(self, directory: Directory, name: str) -> None:
        """Hide `name`, or with "" everything, that the layers below have in the directory; never what this layer
        itself brings, whatever comes first in the archive."""
        self._note_made(directory.path)
        if self._options.whiteouts is Whiteouts.APPLY:
            names = [name] if name else os.listdir(directory.fd)
            for each in names:
                self._remove_from_below(directory, each)
        elif not name:
            self._hide_below(directory)
        else:
            try:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory.fd)
                self.result.whiteouts.append(joined(directory.path, name))
            except FileExistsError:
                if stat.S_ISDIR(os.lstat(name, dir_fd=directory.fd).st_mode):
                    fd = os.open(name, _DIRECTORY, dir_fd=directory.fd)
                    try:
                        os.setxattr(fd, OPAQUE_XATTR, b"y")
                    finally:
                        os.close(fd)

    def _hide_below(self, directory: Directory) -> None:
        if directory.path:
            os.setxattr(directory.fd, OPAQUE_XATTR, b"y")
        else:
            self.result.hides_everything_below = True

    def _remove_from_below(self, directory: Directory, name: str) -> None:
        path = joined(directory.path, name)
        try:
            is_directory = stat.S_ISDIR(os.lstat(name, dir_fd=directory.fd).st_mode)
        except FileNotFoundError:
            return
        if path not in self._made:
            self._remove(directory, name, path, is_directory)
        elif is_directory:
            fd = os.open(name, _DIRECTORY, dir_fd=directory.fd)
            try:
                for each in os.listdir(fd):
                    self._remove_from_below(Directory(fd, path), each)
            finally:
                os.close(fd)
