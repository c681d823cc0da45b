"""A directory tree, or one entry of a directory, as a tar.

The tree may belong to a running container, whose processes rename and replace as they like: every entry is opened once
by its name of one part without following it (O_PATH), and all that is asked and read goes through that descriptor.
Entries come sorted, so that the same tree gives the same tar.
"""

import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Protocol

from orlop.archive.attributes import SHADOWS
from orlop.archive.header import END_OF_ARCHIVE, Entry, padding, render_header
from orlop.archive.member import MemberKind, Segment
from orlop.archive.names import OPAQUE_NAME, WHITEOUT_PREFIX, whiteout_name
from orlop.archive.tree import OPAQUE_XATTR, is_whiteout, joined
from orlop.errors import HostFailure, Unsupported
from orlop.kernel.openat2 import open_beneath
from orlop.model.value import dataclass

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BUFFER_BYTES = 256 << 10
_CHUNK_BYTES = 1 << 20
_NEVER = SHADOWS | {"security.selinux"}
_MOST_PIECES = 1000  # the kernel takes 1024 in one call
_DEEPEST = 1000  # directories within each other: one descriptor each
_KINDS = {
    stat.S_IFREG: MemberKind.FILE,
    stat.S_IFDIR: MemberKind.DIRECTORY,
    stat.S_IFLNK: MemberKind.SYMLINK,
    stat.S_IFCHR: MemberKind.CHARACTER_DEVICE,
    stat.S_IFBLK: MemberKind.BLOCK_DEVICE,
    stat.S_IFIFO: MemberKind.FIFO,
}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Output(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class PackOptions:
    whiteouts: bool = False  # a layer: overlayfs' markers become `.wh.` members
    exact_times: bool = False  # nanoseconds; else whole seconds, as Docker's tools write them
    cross_mounts: bool = True  # else a mount point is an empty directory
    only: frozenset[str] | None = None  # paths beneath the root; parents and what is below are not implied
    deleted: tuple[str, ...] = ()  # paths that get a whiteout
    sparse: bool = True  # holes as such; else as the zeros they read as, which every tar program understands
    every_xattr: bool = False  # overlayfs' own too; never the label of this host
    passed_over: tuple[int, ...] = ()  # devices: what is mounted from them below the root shows as empty


def pack_tree(root_fd: int, out: Output, prefix: str = "", options: PackOptions | None = None) -> None:
    """The directory `root_fd`: its content named from `prefix`, and with a prefix the directory itself too."""
    packer = _Packer(out, options or PackOptions())
    fd = os.open(f"/proc/self/fd/{root_fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if prefix:
        packer.add(fd, os.fstat(fd), prefix)
    packer.walk(fd, prefix)
    packer.finish()


def pack_entry(parent_fd: int, name: str, out: Output, as_name: str, options: PackOptions | None = None) -> None:
    """One entry of a directory with all that is below it, called `as_name` in the tar. Raises FileNotFoundError."""
    packer = _Packer(out, options or PackOptions())
    fd = os.open(name, _PATH, dir_fd=parent_fd)
    try:
        details = os.fstat(fd)
        packer.add(fd, details, as_name)
        if stat.S_ISDIR(details.st_mode):
            packer.walk(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), as_name)
    finally:
        os.close(fd)
    packer.finish()


def pack_opened(fd: int, out: Output, as_name: str, options: PackOptions | None = None) -> None:
    """What `fd` is open on (O_PATH will do), a directory with all that is below it, called `as_name` in the tar."""
    packer = _Packer(out, options or PackOptions())
    details = os.fstat(fd)
    packer.add(fd, details, as_name)
    if stat.S_ISDIR(details.st_mode):
        packer.walk(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), as_name)
    packer.finish()


class _Packer:
    def __init__(self, out: Output, options: PackOptions) -> None:
        self._out = out
        # A pipe or file that is not buffered can be given bytes without their passing through our memory.
        self._out_fd = out.fileno() if isinstance(out, io.FileIO) else -1
        self._options = options
        self._pieces: list[bytes] = []  # waiting to be written together
        self._size = 0
        self._links: dict[tuple[int, ...], str] = {}

    def walk(self, fd: int, prefix: str) -> None:
        """Everything below a directory; takes its descriptor over."""
        stack: list[tuple[int, str, str, Iterator[str]]] = []

        def enter(fd: int, name: str, path: str) -> None:
            stack.append((fd, name, path, iter(sorted(os.listdir(fd)))))
            if self._options.whiteouts and _is_opaque(fd):
                self._put(render_header(Entry(joined(name, OPAQUE_NAME), MemberKind.FILE, mode=0o600)))

        try:
            try:
                enter(fd, prefix, "")
            except BaseException:
                os.close(fd)
                raise
            while stack:
                fd, name, path, names = stack[-1]
                base = next(names, None)
                if base is None:
                    os.close(fd)
                    stack.pop()
                    continue
                below = self._visit(fd, base, _named(name, base), joined(path, base))
                if below is not None:
                    if len(stack) >= _DEEPEST:
                        os.close(below)
                        raise HostFailure(f"packing {path!r}", f"more than {_DEEPEST} directories within each other")
                    enter(below, _named(name, base), joined(path, base))
        finally:
            for fd, *_ in stack:
                os.close(fd)

    def _visit(self, parent_fd: int, base: str, name: str, path: str) -> int | None:
        """Add one entry; the descriptor of a directory to go into."""
        only = self._options.only
        if self._options.whiteouts and base.startswith(WHITEOUT_PREFIX) and (only is None or path in only):
            raise Unsupported(f"packing /{path}", "in a layer such a name means a file that was deleted", "Rename it")
        try:
            fd = os.open(base, _PATH, dir_fd=parent_fd)
        except FileNotFoundError:
            return None  # gone since the directory was listed
        try:
            details = os.fstat(fd)
            if only is None or path in only:
                if self._options.whiteouts and is_whiteout(details):
                    hidden = joined(name.rpartition("/")[0], whiteout_name(base))
                    self._put(render_header(Entry(hidden, MemberKind.FILE, mode=0o600)))
                    return None
                self.add(fd, details, name)
            if not stat.S_ISDIR(details.st_mode) or self._is_passed_over(parent_fd, details):
                return None
            return self._open_directory(parent_fd, base, fd)
        finally:
            os.close(fd)

    def _is_passed_over(self, parent_fd: int, details: os.stat_result) -> bool:
        return details.st_dev in self._options.passed_over and os.fstat(parent_fd).st_dev != details.st_dev

    def _open_directory(self, parent_fd: int, base: str, path_fd: int) -> int | None:
        if self._options.cross_mounts:
            return os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return open_beneath(parent_fd, base, _DIRECTORY, no_symlinks=True, no_xdev=True)
        except OSError as error:
            if error.errno == errno.EXDEV or error.errno in _GONE:
                return None
            raise

    def add(self, fd: int, details: os.stat_result, name: str) -> None:
        kind = _KINDS.get(stat.S_IFMT(details.st_mode))
        if kind is None:
            return  # a socket: nothing to unpack
        link_name = ""
        if kind is not MemberKind.DIRECTORY and details.st_nlink > 1:
            # The number alone may be another file's by now, where others write to the tree.
            identity = (details.st_dev, details.st_ino, details.st_size, details.st_mtime_ns)
            first = self._links.setdefault(identity, name)
            if first != name:
                kind, link_name = MemberKind.HARD_LINK, first
        if kind is MemberKind.SYMLINK:
            link_name = os.readlink("", dir_fd=fd)
        # A way through /proc costs as much as reading a small file, so a file's attributes are asked of the descriptor
        # that its content is read from.
        path = f"/proc/self/fd/{fd}"
        is_file = kind is MemberKind.FILE
        place = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if is_file else path
        try:
            entry = Entry(
                name=name,
                kind=kind,
                mode=stat.S_IMODE(details.st_mode),
                uid=details.st_uid,
                gid=details.st_gid,
                size_bytes=details.st_size if kind is MemberKind.FILE else 0,
                mtime_ns=details.st_mtime_ns,
                link_name=link_name,
                device=(os.major(details.st_rdev), os.minor(details.st_rdev)) if details.st_rdev else (0, 0),
                xattrs={} if kind is MemberKind.HARD_LINK else _xattrs(place, self._options.every_xattr),
            )
            if isinstance(place, int):
                self._file(place, entry, details)
            else:
                self._put(render_header(entry, self._options.exact_times))
        finally:
            if isinstance(place, int):
                os.close(place)

    def _file(self, fd: int, entry: Entry, details: os.stat_result) -> None:
        segments = None
        if self._options.sparse and details.st_blocks * 512 < details.st_size:
            segments = _data_segments(fd, details.st_size)
        if segments is None:
            self._put(render_header(entry, self._options.exact_times))
            self._copy(fd, 0, entry.size_bytes)
            self._put(padding(entry.size_bytes))
            return
        self._put(render_header(_with_segments(entry, segments), self._options.exact_times))
        for segment in segments:
            self._copy(fd, segment.offset, segment.length)
        self._put(padding(sum(segment.length for segment in segments)))

    def _copy(self, fd: int, at: int, length: int) -> None:
        """Exactly that many bytes: the header is written, so a file that shrinks meanwhile ends in zeros."""
        end = at + length
        if self._out_fd >= 0 and length >= _BUFFER_BYTES:
            self._flush()
            try:
                while at < end and (sent := os.sendfile(self._out_fd, fd, at, end - at)):
                    at += sent
            except OSError as error:
                if error.errno != errno.EINVAL:  # a file system that cannot do this
                    raise
        while at < end:
            count = min(_CHUNK_BYTES, end - at)
            data = os.pread(fd, count, at) or bytes(count)
            self._put(data)
            at += len(data)

    def _put(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _BUFFER_BYTES or len(self._pieces) >= _MOST_PIECES:
            self._flush()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        size, self._size = self._size, 0
        if self._out_fd >= 0 and size:
            written = os.writev(self._out_fd, pieces)
            if written == size:
                return
            pieces = [b"".join(pieces)[written:]]
        if size:
            self._out.write(b"".join(pieces) if len(pieces) > 1 else pieces[0])

    def finish(self) -> None:
        for path in self._options.deleted:
            directory, _, base = path.rpartition("/")
            self._put(render_header(Entry(joined(directory, whiteout_name(base)), MemberKind.FILE, mode=0o600)))
        self._put(END_OF_ARCHIVE)
        self._flush()


def _named(prefix: str, base: str) -> str:
    """Names below "/" begin with it, which docker's client counts on."""
    return prefix + base if prefix == "/" else joined(prefix, base)


def _with_segments(entry: Entry, segments: Sequence[Segment]) -> Entry:
    return Entry(
        entry.name,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size_bytes,
        entry.mtime_ns,
        entry.link_name,
        entry.device,
        entry.xattrs,
        segments,
    )


def _data_segments(fd: int, size: int) -> list[Segment] | None:
    """Where a file has data; None when it has no holes, or the file system does not tell."""
    segments = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no more data
                return None
            break
        end = min(end, size)
        if start >= end:
            break
        segments.append(Segment(start, end - start))
        at = end
    return None if segments == [Segment(0, size)] else segments


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def _xattrs(path: str | int, every: bool) -> dict[str, bytes]:
    try:
        names = os.listxattr(path)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOENT):
            return {}
        raise
    found = {}
    for name in names:
        if name in _NEVER or (name.startswith("trusted.overlay.") and not every):
            continue  # overlayfs' own; the host's label
        try:
            found[name] = os.getxattr(path, name)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return found
