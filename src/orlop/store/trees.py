"""Copy a directory tree as it is: owners, modes, times, extended attributes (capabilities among them), hard links,
symbolic links, devices, fifos, holes.

Neither side is reached by path: each directory is opened by its parent's descriptor, and never through a link, so that
nobody who can write to either tree can lead the copy elsewhere. The target must be a directory of our own; where others
can get into it (root in a container), they harm nothing but the copy. Bytes are shared with the source where the file
system can (FICLONE), else copied in the kernel.

A tree that others are writing to is copied leniently: what vanishes or changes under the walk is noted, not an error.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from functools import partial

from orlop.kernel.openat2 import open_beneath
from orlop.model.value import dataclass
from orlop.store.tree_bytes import LARGE, ByteCopy, LargeFile, LargeFiles
from orlop.store.tree_entries import Level, as_made, copy_node, make_link, settle_file
from orlop.store.tree_entries import copy_attributes as copy_attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_TARGET = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO, errno.EINVAL)
_TWICE = "it went and came again while its directory was copied: it is as it was at first"
_REPORT_EVERY = 256  # entries
_REPORT_BYTES = 64 << 20
_SYNC_EVERY = 2000  # entries
_DEEPEST = 1000  # directories within each other: two descriptors each
MOST_MISSED = 1000  # told one by one

Progress = Callable[[int, int], None]  # entries and bytes so far; may raise to end the copy


@dataclass(slots=True)
class Missed:
    """What a lenient copy could not take as it was, by path below the top."""

    count: int = 0
    entries: list[tuple[str, str]] = field(default_factory=list)  # path and why, the first of them
    attributes: set[str] = field(default_factory=set)  # names of extended ones that cannot be kept there

    def note(self, path: str, why: str) -> None:
        self.count += 1
        if len(self.entries) < MOST_MISSED:
            self.entries.append((path, why))


class _Vanished(Exception):
    """Something of the source is not what it was when its directory was read."""


class TreeCopy:
    """One copy. `run` once."""

    def __init__(
        self,
        source_fd: int,
        target_fd: int,
        sync_each: bool = False,
        missed: Missed | None = None,
        progress: Progress | None = None,
        sync_ahead: bool = False,
    ) -> None:
        """Both directories are open; they stay the caller's. With `missed` the copy is lenient, and stays on the
        source's mount."""
        self._sync_ahead = sync_ahead
        self._sync_each = sync_each
        self._source_fd = source_fd
        self._target_fd = target_fd
        self._missed = missed
        self._lost: set[str] = missed.attributes if missed is not None else set()
        self._progress = progress
        self._reported = (0, 0)
        self._synced = 0  # entries, when the disk was last told to begin
        self._partial = 0  # bytes of the file under way
        self._linked: dict[tuple[int, ...], str] = {}
        self._bytes = ByteCopy(self._report)
        self._large: LargeFiles | None = None
        self._own = os.geteuid(), os.getegid()
        self.entries = 0
        self.size_bytes = 0  # of files, each once

    def run(self) -> None:
        if self._sync_each or self._missed is not None or self._progress is not None:
            self._run()
            return
        with LargeFiles(self._sync_ahead) as self._large:
            self._run()

    def _run(self) -> None:
        levels = [Level(os.dup(self._source_fd), os.dup(self._target_fd), "", [])]
        try:
            self._copy_entries(levels[0])
            while levels:
                level = levels[-1]
                if level.waiting:
                    if len(levels) >= _DEEPEST:
                        why = f"more than {_DEEPEST} directories within each other"
                        raise OSError(errno.EMFILE, why, level.path[:200])
                    below = self._enter(level, level.waiting.pop())
                    if below is not None:
                        levels.append(below)
                        self._copy_entries(below)
                    continue
                copy_attributes(level.source_fd, level.target_fd, self._lost)
                if self._sync_each:
                    os.fsync(level.target_fd)
                _close(levels.pop())
        finally:
            for level in levels:
                _close(level)
        if self._progress:
            self._progress(self.entries, self.size_bytes)

    def _enter(self, above: Level, name: str) -> Level | None:
        path = f"{above.path}{name}"
        try:
            source_fd = self._open_directory(above, name)
        except _Vanished as gone:
            self._note(path, gone)
            return None
        is_mounted = source_fd < 0
        try:
            os.mkdir(name, 0o700, dir_fd=above.target_fd)
            if is_mounted:
                return None
            target_fd = os.open(name, _DIRECTORY, dir_fd=above.target_fd)
        except BaseException as error:
            if not is_mounted:
                os.close(source_fd)
            if isinstance(error, FileExistsError) and self._missed is not None:
                self._missed.note(path, _TWICE)
                return None
            raise
        return Level(source_fd, target_fd, f"{path}/", [])

    def _open_directory(self, above: Level, name: str) -> int:
        """-1 for the place of a mount, which is left empty."""
        if self._missed is None:
            return os.open(name, _DIRECTORY, dir_fd=above.source_fd)
        try:
            return open_beneath(above.source_fd, name, _DIRECTORY, no_symlinks=True, no_xdev=True)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._missed.note(f"{above.path}{name}", "something is mounted there, which is not copied")
                return -1
            raise self._vanished(error) from error

    def _copy_entries(self, level: Level) -> None:
        """Everything in a directory but the directories, which are left for later."""
        with os.scandir(level.source_fd) as entries:
            for entry in entries:
                self.entries += 1
                try:
                    self._copy_entry(level, entry)
                except _Vanished as gone:
                    self._note(level.path + entry.name, gone)
                except FileExistsError:
                    if self._missed is None:
                        raise
                    self._missed.note(level.path + entry.name, _TWICE)
                if self._progress:
                    self._report()
            if self._large is not None and self.entries - self._synced >= _SYNC_EVERY:
                self._synced = self.entries
                self._large.sync(level.target_fd)

    def _copy_entry(self, level: Level, entry: "os.DirEntry[str]") -> None:
        try:
            # Its kind stands in the directory: most entries are files, which are looked at once they are open.
            is_file = entry.is_file(follow_symlinks=False)
            details = None if is_file else entry.stat(follow_symlinks=False)
        except OSError as error:
            raise self._vanished(error) from error
        if details is None:
            self._copy_file(level, entry.name)
            return
        if stat.S_ISDIR(details.st_mode):
            level.waiting.append(entry.name)
            return
        if details.st_nlink > 1 and self._link(level, entry.name, details):
            return
        if stat.S_ISLNK(details.st_mode):
            try:
                target = os.readlink(entry.name, dir_fd=level.source_fd)
            except OSError as error:
                raise self._vanished(error) from error
            make_link(level, entry.name, details, target, self._lost)
        else:
            copy_node(level, entry.name, details, self._lost)
        if details.st_nlink > 1:
            self._linked[_identity(details)] = level.path + entry.name

    def _link(self, level: Level, name: str, details: os.stat_result) -> bool:
        """True when the file was copied before under another name and now has this one too."""
        first = self._linked.get(_identity(details))
        if first is None:
            return False
        # Not by its path: those who are in the target, too, may have put a link in the way.
        fd = open_beneath(self._target_fd, first, os.O_PATH | os.O_NOFOLLOW, no_symlinks=True)
        try:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=level.target_fd, follow_symlinks=True)
        finally:
            os.close(fd)
        return True

    def _copy_file(self, level: Level, name: str) -> None:
        try:
            source = self._open_file(level, name)
        except OSError as error:
            raise self._vanished(error) from error
        handed_over = False
        try:
            details = os.fstat(source)
            if not stat.S_ISREG(details.st_mode):
                raise self._vanished(OSError(errno.ESTALE, "changed while it was copied", level.path + name))
            if details.st_nlink > 1:
                if self._link(level, name, details):
                    return
                self._linked[_identity(details)] = level.path + name
            handed_over = self._copy_opened(level, name, source, details)
            self._partial = 0
            self.size_bytes += details.st_size
            if self._missed is not None:
                self._look_again(source, details, level.path + name)
        except OSError as error:
            if error.filename is None:
                raise OSError(error.errno, error.strerror, level.path + name) from error
            raise
        finally:
            if not handed_over:
                os.close(source)

    def _copy_opened(self, level: Level, name: str, source: int, details: os.stat_result) -> bool:
        """Whether the descriptor is somebody else's to close from here on."""
        is_own = (details.st_uid, details.st_gid) == self._own
        # Its mode at once, where it is to be ours in any case: else nobody may open it before it has its owner.
        mode = details.st_mode & 0o777 if is_own else 0o600
        target = os.open(name, _TARGET, mode, dir_fd=level.target_fd)
        handed_over = False
        try:
            if self._large is not None and details.st_size >= LARGE:
                settle = partial(settle_file, source, target, details, self._lost)
                self._large.add(LargeFile(source, target, details, level.path + name, settle))
                handed_over = True
            else:
                self._copy_bytes(source, target, details)
                made = level.made.get(mode)
                if made is None:
                    made = level.made[mode] = as_made(target)
                settle_file(source, target, details, self._lost, made)
                if self._sync_each:
                    os.fsync(target)
        finally:
            if not handed_over:
                os.close(target)
        return handed_over

    def _open_file(self, level: Level, name: str) -> int:
        """In a tree that others write to, a device may have taken the file's place, and some do things when they are
        opened. So what is there is looked at before it is opened for reading, and it is that which is opened."""
        if self._missed is None:
            return os.open(name, _SOURCE, dir_fd=level.source_fd)
        place = os.open(name, _PLACE, dir_fd=level.source_fd)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise OSError(errno.ESTALE, "changed while it was copied", level.path + name)
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(place)

    def _look_again(self, source: int, before: os.stat_result, path: str) -> None:
        after = os.fstat(source)
        if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
            assert self._missed is not None
            self._missed.note(path, "it was written to while it was copied")

    def _vanished(self, error: OSError) -> Exception:
        """What to raise for an error at the source's side."""
        if self._missed is not None and error.errno in _VANISHED:
            return _Vanished("it vanished, or became something else, while its directory was copied")
        return error

    def _note(self, path: str, gone: _Vanished) -> None:
        assert self._missed is not None
        self._missed.note(path, str(gone))

    def _report(self, copied: int = 0) -> None:
        """`copied`: bytes more of a file under way."""
        self._partial += copied
        size = self.size_bytes + self._partial
        entries, reported = self._reported
        if self._progress and (self.entries - entries >= _REPORT_EVERY or size - reported >= _REPORT_BYTES):
            self._reported = (self.entries, size)
            self._progress(self.entries, size)

    def _copy_bytes(self, source: int, target: int, details: os.stat_result) -> None:
        self._bytes.copy(source, target, details)


def copy_tree(source_fd: int, target_fd: int, sync_each: bool = False, sync_ahead: bool = False) -> int:
    """Copy what is in one open directory into another, empty one, and the directory's own attributes. Returns the
    number of entries. With `sync_each` every file is on the disk when this returns; with `sync_ahead` much of it is, so
    that syncing the whole does not take long any more. Raises OSError."""
    copy = TreeCopy(source_fd, target_fd, sync_each, sync_ahead=sync_ahead)
    copy.run()
    return copy.entries


def copy_live_tree(source_fd: int, target_fd: int, progress: Progress | None = None) -> tuple[int, int, Missed]:
    """The same of a tree that others may be writing to. Entries, bytes, and what was missed."""
    missed = Missed()
    copy = TreeCopy(source_fd, target_fd, missed=missed, progress=progress)
    copy.run()
    return copy.entries, copy.size_bytes, missed


_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


def count_entries(directory_fd: int, enough: int) -> tuple[int, int]:
    """Entries below a directory and the sizes of its files, counted until there are `enough`. What vanishes meanwhile
    does not count, and what is mounted there is not entered."""
    entries, size = 0, 0
    waiting = [os.dup(directory_fd)]
    try:
        while waiting and entries < enough:
            fd = waiting.pop()
            try:
                with os.scandir(fd) as found:
                    for entry in found:
                        entries += 1
                        try:
                            if not entry.is_dir(follow_symlinks=False):
                                size += entry.stat(follow_symlinks=False).st_size
                            elif entries < enough:
                                waiting.append(open_beneath(fd, entry.name, _DIRECTORY, no_symlinks=True, no_xdev=True))
                        except OSError as error:
                            if error.errno not in _GONE:
                                raise
            finally:
                os.close(fd)
    finally:
        for fd in waiting:
            os.close(fd)
    return entries, size


def _identity(details: os.stat_result) -> tuple[int, ...]:
    """What two names of one file have in common. In a tree that others write to, a number may have come to another file
    meanwhile; to take that for the first would be to lose it."""
    return details.st_dev, details.st_ino, details.st_size, details.st_mtime_ns


def _close(level: Level) -> None:
    for fd in (level.source_fd, level.target_fd):
        with suppress(OSError):
            os.close(fd)
