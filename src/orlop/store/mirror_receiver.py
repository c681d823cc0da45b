"""The side of a mirror (mirror.py) that gets the copy.

The sender may be anybody: it names directories by paths, which are opened beneath the top, over no link and no mount,
and what is in them by names of one part. So whatever it says, nothing outside the top is touched.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from orlop.errors import HostFailure, OrlopError
from orlop.kernel.holes import make_hole
from orlop.store.files import remove_tree_at
from orlop.store.mirror_ahead import SyncAhead
from orlop.store.mirror_bytes import digest_of_file, reopen
from orlop.store.mirror_facts import Opened, facts_of, give
from orlop.store.mirror_kept import try_out
from orlop.store.mirror_paths import open_directory, split
from orlop.store.mirror_words import (
    BLOCK,
    Adjust,
    Aspect,
    Begin,
    Bye,
    Done,
    End,
    Enter,
    Facts,
    Failed,
    Flush,
    Found,
    Hello,
    Link,
    Look,
    MakeDirectory,
    MakeNode,
    Misspoken,
    Move,
    Remove,
    Seen,
    SenderWord,
    Severed,
    Small,
    Stream,
    Wire,
    Working,
    Zero,
)

_SUBJECT = "receiving the copy"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_THERE = 64
_MOST_XATTRS = 1 << 20  # bytes of them in one answer
_TELL_EVERY = 32 << 20
_SENSELESS = (ValueError, OverflowError, TypeError)


def receive(stream: Stream, target_fd: int) -> None:
    """Serve one sender until it says that it has ended. The directory and the stream stay the caller's. What goes wrong
    is told to the sender, and raised: OSError, HostFailure; Severed where the sender has gone before its end."""
    wire = Wire(stream, SenderWord, _SUBJECT)
    wire.greet()
    with _Receiver(wire, target_fd) as receiver:
        try:
            receiver.run()
        except Severed:
            raise
        except (OSError, OrlopError) as error:
            _tell(wire, error)
            raise


def _tell(wire: Wire, error: OSError | OrlopError) -> None:
    """And heed nothing any more; but take it until the sender has understood, else it would not hear why."""
    if isinstance(error, OSError):
        path = os.fsencode(error.filename) if isinstance(error.filename, str | bytes) else b""
        word = Failed(error.errno or errno.EIO, _spoken(error.strerror or str(error)), path)
    else:
        word = Failed(0, _spoken(error.why), b"")
    with suppress(Severed, Misspoken):
        wire.say(word)
        wire.flush()
        while True:
            wire.skip()


def _spoken(text: str) -> str:
    """Names may be in it that are no text."""
    return text.encode(errors="backslashreplace").decode()


class _Receiver:
    def __init__(self, wire: Wire, target_fd: int) -> None:
        self._wire = wire
        self._top = target_fd
        self._forgone: frozenset[Aspect] = frozenset()
        self._path = b""
        self._here = -1
        self._file: Opened | None = None
        self._file_name = b""
        self._read = 0
        self._told = 0
        self._buffer = memoryview(bytearray(BLOCK))
        self._ahead = SyncAhead(target_fd)

    def __enter__(self) -> "_Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.end()
        for fd in (self._here, self._file.fd if self._file else -1):
            if fd >= 0:
                os.close(fd)

    def run(self) -> None:
        heed: dict[type, Callable[..., None]] = {
            Hello: self._hello,
            Enter: self._enter,
            MakeDirectory: self._make_directory,
            Small: self._small,
            Begin: self._begin,
            Zero: self._zero,
            End: self._end,
            MakeNode: self._make_node,
            Adjust: self._adjust,
            Link: self._link,
            Move: self._move,
            Remove: self._remove,
            Flush: self._flush,
            Look: self._look,
        }
        while not isinstance(word := self._wire.hear(), Bye):
            name = getattr(word, "name", b"")
            try:
                if isinstance(word, tuple):
                    self._bytes(*word)
                else:
                    heed[type(word)](word)
            except _SENSELESS as error:
                raise Misspoken(_SUBJECT, f"the other side asked for what cannot be: {error}") from error
            except OSError as error:
                if error.errno is None:
                    raise
                shown = os.fsdecode(self._shown(name or self._file_name))
                raise OSError(error.errno, error.strerror, shown) from error

    def _shown(self, name: bytes) -> bytes:
        return self._path + b"/" + name if self._path else name

    # Where

    def _hello(self, word: Hello) -> None:
        there = [os.fsencode(name) for name in os.listdir(self._top)]
        if len(there) > _MOST_THERE:
            raise HostFailure(_SUBJECT, "the directory that is to get the copy is not empty")
        self._forgone = frozenset(word.forgone)
        self._wire.say(try_out(self._top, there))
        self._wire.flush()

    def _enter(self, word: Enter) -> None:
        fd = self._open_directory(word.path)
        if self._here >= 0:
            os.close(self._here)
        self._here, self._path = fd, word.path

    def _open_directory(self, path: bytes) -> int:
        if path.startswith(b"/") or b".." in path.split(b"/"):
            raise Misspoken(_SUBJECT, "the other side named a path that leads elsewhere")
        return open_directory(self._top, path)

    def _named(self, name: bytes) -> bytes:
        if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
            raise Misspoken(_SUBJECT, "the other side named what is no name")
        if self._here < 0:
            raise Misspoken(_SUBJECT, "the other side named no directory first")
        return name

    # Names

    def _make_directory(self, word: MakeDirectory) -> None:
        os.mkdir(self._named(word.name), 0o700, dir_fd=self._here)

    def _make_node(self, word: MakeNode) -> None:
        name, facts = self._named(word.name), word.facts
        kind = stat.S_IFMT(facts.mode)
        if kind == stat.S_IFLNK:
            os.symlink(facts.target, name, dir_fd=self._here)
        elif kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(name, kind | 0o600, facts.device, dir_fd=self._here)
        else:
            raise Misspoken(_SUBJECT, "the other side wants something made that it may not")
        self._adjust(Adjust(name, facts, word.atime_ns))

    def _adjust(self, word: Adjust) -> None:
        if not word.name:
            self._named(b"it")
            self._give(Opened(self._here, os.fstat(self._here), is_place=False), word.facts, word.atime_ns)
            return
        fd = os.open(self._named(word.name), _PLACE, dir_fd=self._here)
        try:
            self._give(Opened(fd, os.fstat(fd), is_place=True), word.facts, word.atime_ns)
        finally:
            os.close(fd)

    def _give(self, entry: Opened, facts: Facts, atime_ns: int) -> None:
        if stat.S_IFMT(entry.details.st_mode) != stat.S_IFMT(facts.mode):
            raise Misspoken(_SUBJECT, "the other side takes something for what it is not")
        give(entry, facts, atime_ns, self._forgone)

    def _link(self, word: Link) -> None:
        self._from(
            word.old,
            lambda old, fd: os.link(
                old, self._named(word.name), src_dir_fd=fd, dst_dir_fd=self._here, follow_symlinks=False
            ),
        )

    def _move(self, word: Move) -> None:
        self._from(
            word.old, lambda old, fd: os.rename(old, self._named(word.name), src_dir_fd=fd, dst_dir_fd=self._here)
        )

    def _from(self, path: bytes, act: Callable[[bytes, int], None]) -> None:
        directory, name = split(path)
        fd = self._open_directory(directory)
        try:
            act(self._named(name), fd)
        finally:
            os.close(fd)

    def _remove(self, word: Remove) -> None:
        shown = os.fsdecode(self._shown(word.name))
        remove_tree_at(self._here, os.fsdecode(self._named(word.name)), shown)

    # Files

    def _small(self, word: Small) -> None:
        self._open(word.name, word.is_new)
        assert self._file is not None
        _write(self._file.fd, memoryview(word.data), 0)
        self._ahead.wrote(len(word.data))
        self._end(End(word.facts, word.atime_ns))

    def _begin(self, word: Begin) -> None:
        self._open(word.name, word.is_new)

    def _open(self, name: bytes, is_new: bool) -> None:
        if self._file is not None:
            raise Misspoken(_SUBJECT, "the other side began a file before the end of another")
        fd = os.open(self._named(name), _NEW, 0o600, dir_fd=self._here) if is_new else self._reopen(name)
        self._file, self._file_name = Opened(fd, os.fstat(fd), is_place=False), name

    def _reopen(self, name: bytes) -> int:
        """What is no file is not opened."""
        place = os.open(self._named(name), _PLACE, dir_fd=self._here)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise Misspoken(_SUBJECT, "the other side takes something for a file that is none")
            return os.open(f"/proc/self/fd/{place}", os.O_WRONLY | os.O_CLOEXEC)
        finally:
            os.close(place)

    def _begun(self) -> int:
        if self._file is None:
            raise Misspoken(_SUBJECT, "the other side sent bytes of no file")
        return self._file.fd

    def _bytes(self, offset: int, data: memoryview) -> None:
        _write(self._begun(), data, offset)
        self._ahead.wrote(len(data))

    def _zero(self, word: Zero) -> None:
        make_hole(self._begun(), word.offset, word.count)

    def _end(self, word: End) -> None:
        fd = self._begun()
        assert self._file is not None
        if os.fstat(fd).st_size != word.facts.size:
            os.ftruncate(fd, word.facts.size)
        self._give(self._file, word.facts, word.atime_ns)
        self._file = None
        os.close(fd)

    # Questions

    def _flush(self, word: Flush) -> None:
        self._ahead.sync()
        self._wire.say(Done())
        self._wire.flush()

    def _look(self, word: Look) -> None:
        self._ahead.sync()
        self._read = self._told = 0
        found: list[Found | None] = []
        size = 0
        for each in self._all_found(word):
            found.append(each)
            size += sum(len(value) for _, value in each.facts.xattrs) if each else 0
            if size >= _MOST_XATTRS:
                self._wire.say(Seen(found))
                found, size = [], 0
        if found:
            self._wire.say(Seen(found))
        self._wire.flush()

    def _all_found(self, word: Look) -> Iterator[Found | None]:
        for path, names in word.groups:
            try:
                fd = self._open_directory(path)
            except FileNotFoundError:
                yield from (None for _ in names)
                continue
            try:
                yield from (self._found(fd, name) for name in names)
            finally:
                os.close(fd)

    def _found(self, directory: int, name: bytes) -> Found | None:
        try:
            place = os.open(name or b".", _PLACE, dir_fd=directory)
        except FileNotFoundError:
            return None
        try:
            details = os.fstat(place)
            facts = facts_of(Opened(place, details, is_place=True))
            if stat.S_ISREG(details.st_mode):
                return Found(facts, self._digest(place), details.st_ino, details.st_nlink)
            if stat.S_ISDIR(details.st_mode):
                return Found(facts, links=_count(place))
            return Found(facts, b"", details.st_ino, details.st_nlink)
        finally:
            os.close(place)

    def _digest(self, place: int) -> bytes:
        fd = reopen(place)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # it is what is on the disk that counts
            digest = b""
            for told in digest_of_file(fd, os.fstat(fd), self._buffer):
                if isinstance(told, bytes):
                    digest = told
                else:
                    self._note_read(told)
            return digest
        finally:
            os.close(fd)

    def _note_read(self, count: int) -> None:
        self._read += count
        if self._read - self._told >= _TELL_EVERY:
            self._told = self._read
            self._wire.say(Working(self._read))
            self._wire.flush()


def _count(place: int) -> int:
    fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as entries:
            return sum(1 for _ in entries)
    finally:
        os.close(fd)


def _write(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count
