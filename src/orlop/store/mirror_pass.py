"""One pass of a mirror, at the side that has the data: the tree is walked, and what the other has not is said to it."""

import errno
import os
import stat
from collections.abc import Callable, Collection
from dataclasses import field
from pathlib import Path

from orlop.kernel.mounts import mounts_at_or_below
from orlop.kernel.openat2 import open_beneath
from orlop.model.value import dataclass
from orlop.store.mirror_content import Content, Place, Vanished, key_of
from orlop.store.mirror_facts import Opened, facts_of
from orlop.store.mirror_index import ROOT, Index, Node
from orlop.store.mirror_kept import Kept
from orlop.store.mirror_moments import Moment
from orlop.store.mirror_paths import joined, open_directory
from orlop.store.mirror_said import Said, packed
from orlop.store.mirror_words import Facts, Wire
from orlop.store.trees import Missed

_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO, errno.EINVAL, errno.EXDEV)
_MOUNTED = "something is mounted there, which is not copied"


@dataclass(slots=True)
class Pass:
    """What one pass found and did."""

    number: int
    entries: int = 0
    changed: int = 0  # entries that were made, changed or removed at the receiver
    read_bytes: int = 0
    sent_bytes: int = 0  # of files; the rest is little
    unsettled: int = 0  # files and directories that were being changed: the next pass looks at them again
    unsettled_bytes: int = 0
    missed: Missed = field(default_factory=Missed)  # left out: sockets, what is mounted below


class Walk:
    """`run` once."""

    def __init__(
        self,
        source_fd: int,
        wire: Wire,
        index: Index,
        kept: Kept,
        number: int,
        passed_over: Collection[bytes],
        told: Callable[[Pass], None],
    ) -> None:
        self._source_fd = source_fd
        self._index = index
        self._kept = kept
        self._passed_over = passed_over
        self._told = told
        self._mounted = _mounted_names(source_fd)
        self.result = Pass(number)
        self._moment = Moment.now(source_fd)
        self._said = Said(wire, index, number, kept)
        self._content = Content(wire, index, self._said, kept, self._moment, self._note_read)

    def run(self) -> None:
        self._visit(ROOT, b"")
        while (waiting := self._index.next_waiting()) is not None:
            self._visit(*waiting)
        self._read_again()
        self._said.remove_gone()
        self._said.adjust_directories()
        self._tell()

    def _visit(self, number: int, path: bytes) -> None:
        known = self._index.node(number)
        if known is None or self._index.path(number) != path:
            self._unsettle()  # it was moved while we walked
            return
        try:
            fd = open_directory(self._source_fd, path)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._leave_mount(known, path)
                return
            self._forgive(error, path)
            return
        try:
            self._scan(fd, known, path)
        finally:
            os.close(fd)

    def _scan(self, fd: int, known: Node, path: bytes) -> None:
        before = os.fstat(fd)
        if known.id != ROOT and key_of(before, Place(fd, 0, path, b""), self._kept.forgone) != known.key:
            self._unsettle()
            return
        facts = facts_of(Opened(fd, before, is_place=False))
        self._kept.require(facts, path)
        self._index.walked(known.id, self.result.number)
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if known.id != ROOT or name not in self._passed_over:
                    self._entry(Place(fd, known.id, path, name), entry)
        if not self._moment.is_settled(before, os.fstat(fd)):
            self._unsettle()
        is_changed = packed(facts) != known.facts
        self._content.save(known, before, facts, b"", is_changed, is_settled=True)
        if is_changed:
            self._index.spoil(known.id)

    def _leave_mount(self, known: Node, path: bytes) -> None:
        """The place of a mount is an empty directory."""
        self.result.missed.note(os.fsdecode(path), _MOUNTED)
        self._index.walked(known.id, self.result.number)
        known.facts = packed(Facts(stat.S_IFDIR | 0o755, 0, 0, 0))
        self._index.save(known, is_changed=True)
        self._index.spoil(known.id)

    def _entry(self, place: Place, entry: "os.DirEntry[str]") -> None:
        self.result.entries += 1
        self._tell()
        try:
            self._look_at(place, entry.stat(follow_symlinks=False))
        except Vanished:
            self._unsettle()
        except OSError as error:
            self._forgive(error, place.full)

    def _look_at(self, place: Place, details: os.stat_result) -> None:
        kind = stat.S_IFMT(details.st_mode)
        if place.name in self._mounted and kind != stat.S_IFDIR and _is_mount(place):
            self.result.missed.note(os.fsdecode(place.full), _MOUNTED)
            return
        if why := self._kept.why_left_out(kind):
            self.result.missed.note(os.fsdecode(place.full), why)
            return
        key = key_of(details, place, self._kept.forgone)
        node = self._said.place(place.parent, place.path, place.name, kind, key, details)
        if kind == stat.S_IFDIR:
            if node is None:
                facts = Facts(details.st_mode, details.st_uid, details.st_gid, details.st_mtime_ns)
                node = self._said.make_directory(place.parent, place.path, place.name, key, facts)
            self._index.wait(node.id, place.full)
        elif (
            node is None
            or not self._moment.is_as_it_was(node.changed, node.read_at, details)
            or (kind == stat.S_IFREG and node.size != details.st_size)
        ):
            self._bring(place, kind, key, node)

    def _bring(self, place: Place, kind: int, key: str, node: Node | None) -> None:
        is_settled, size = self._content.bring(place, kind, key, node)
        if not is_settled:
            self._unsettle(size)

    def _read_again(self) -> None:
        """What changed just before the pass began: what was under way then has ended by now."""
        for number, parent, name in self._index.to_look_again():
            node = self._index.find(parent, name)
            if node is None or node.id != number or node.key is None:
                continue
            path = self._index.path(parent)
            try:
                fd = open_directory(self._source_fd, path)
                try:
                    self._bring(Place(fd, parent, path, name), stat.S_IFREG, node.key, node)
                finally:
                    os.close(fd)
            except Vanished:
                self._unsettle()
            except OSError as error:
                self._forgive(error, joined(path, name))

    def _forgive(self, error: OSError, path: bytes) -> None:
        """What vanishes while its directory is read is for the next pass; anything else is an error."""
        if error.errno not in _VANISHED:
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error
        self._unsettle()

    def _unsettle(self, size_bytes: int = 0) -> None:
        self.result.unsettled += 1
        self.result.unsettled_bytes += size_bytes

    def _note_read(self, count: int) -> None:
        self.result.read_bytes += count
        self._tell()

    def _tell(self) -> None:
        self.result.changed = self._said.changed
        self.result.sent_bytes = self._content.sent_bytes
        self._told(self.result)


def _mounted_names(top_fd: int) -> frozenset[bytes]:
    """Names, anywhere below the top, that may be mount points. Directories show it when they are opened."""
    top = Path(f"/proc/self/fd/{top_fd}").readlink()
    return frozenset(os.fsencode(Path(each.mount_point).name) for each in mounts_at_or_below(top))


def _is_mount(place: Place) -> bool:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(open_beneath(place.directory_fd, place.name, flags, no_xdev=True))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return True
    return False
