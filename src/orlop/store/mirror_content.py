"""What files, links and devices of the source hold, said to the receiver of a mirror where it has something else."""

import os
import stat
from collections.abc import Callable

import msgspec

from orlop.model.value import dataclass
from orlop.store.mirror_bytes import digest_of, open_regular
from orlop.store.mirror_facts import Opened, facts_of
from orlop.store.mirror_files import FileBytes
from orlop.store.mirror_index import Index, Node
from orlop.store.mirror_kept import Kept
from orlop.store.mirror_moments import Moment
from orlop.store.mirror_paths import joined
from orlop.store.mirror_said import Said, packed, unpacked
from orlop.store.mirror_words import SMALL, Adjust, Aspect, End, Facts, MakeNode, Small, Wire

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Vanished(Exception):
    """Something of the source is not what it was when its directory was read."""


class Unreadable(Exception):
    """A file that is open could not be read: that is no change of the tree, whatever the error's number."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a directory of the source, which is open."""

    directory_fd: int
    parent: int  # the directory's node
    path: bytes  # the directory's
    name: bytes

    @property
    def full(self) -> bytes:
        return joined(self.path, self.name)


def key_of(details: os.stat_result, place: Place, forgone: frozenset[Aspect]) -> str:
    """What tells a node of the source from the others."""
    key = f"{details.st_dev}:{details.st_ino}"
    if Aspect.HARD_LINKS in forgone and details.st_nlink > 1 and not stat.S_ISDIR(details.st_mode):
        return f"{key}:{place.parent}/{place.name.hex()}"
    return key


class Content:
    """Of one pass."""

    def __init__(
        self, wire: Wire, index: Index, said: Said, kept: Kept, moment: Moment, told: Callable[[int], None]
    ) -> None:
        self._wire = wire
        self._index = index
        self._said = said
        self._kept = kept
        self._moment = moment
        self._bytes = FileBytes(index, wire, told)

    @property
    def sent_bytes(self) -> int:
        return self._bytes.sent_bytes

    def bring(self, place: Place, kind: int, key: str, node: Node | None) -> tuple[bool, int]:
        """Whether it is settled, and its size. Raises Vanished, or OSError as the source gives it."""
        if kind == stat.S_IFREG:
            return self._file(place, key, node)
        return self._special(place, key, node), 0

    def _file(self, place: Place, key: str, node: Node | None) -> tuple[bool, int]:
        fd = open_regular(place.directory_fd, place.name)
        try:
            before = os.fstat(fd)
            if key_of(before, place, self._kept.forgone) != key:
                raise Vanished
            facts = facts_of(Opened(fd, before, is_place=False))
            self._kept.require(facts, place.full)
            is_new = node is None
            if node is None:
                node = self._index.add(place.parent, place.name, stat.S_IFREG, key, self._said.number)
            has_holes = before.st_blocks * 512 < before.st_size
            send = self._small if before.st_size <= SMALL and not has_holes else self._large
            try:
                facts, digest, is_changed = send(fd, before, facts, place, node, is_new)
            except OSError as error:
                raise Unreadable(OSError(error.errno, error.strerror, os.fsdecode(place.full))) from error
            is_settled = self._moment.is_settled(before, os.fstat(fd))
            if is_settled and self._moment.has_just_changed(before):
                self._index.look_again(node.id, place.parent, place.name)
            self.save(node, before, facts, digest, is_changed, is_settled)
            return is_settled, facts.size
        finally:
            os.close(fd)

    def _small(
        self, fd: int, details: os.stat_result, facts: Facts, place: Place, node: Node, is_new: bool
    ) -> tuple[Facts, bytes, bool]:
        data = self._bytes.read_small(fd, details.st_size)
        digest = digest_of(data)
        facts = _sized(facts, len(data))
        is_changed = is_new or (digest, packed(facts)) != (node.digest, node.facts)
        if is_changed:
            self._said.say(place.path, Small(place.name, is_new, facts, details.st_atime_ns, bytes(data)))
            self._bytes.sent_bytes += len(data)
            if node.size > SMALL:
                self._index.forget_stretches(node.id, 0)
        return facts, digest, is_changed

    def _large(
        self, fd: int, details: os.stat_result, facts: Facts, place: Place, node: Node, is_new: bool
    ) -> tuple[Facts, bytes, bool]:
        self._said.enter(place.path)
        sending = self._bytes.sending(fd, details, node, place.name, is_new)
        size, digest = sending.run()
        facts = _sized(facts, size)
        is_changed = sending.has_begun or packed(facts) != node.facts
        if is_changed:
            sending.begin()
            self._said.say(place.path, End(facts, details.st_atime_ns))
        return facts, digest, is_changed

    def _special(self, place: Place, key: str, node: Node | None) -> bool:
        """A symbolic link, device or fifo: never opened."""
        fd = os.open(place.name, _PLACE, dir_fd=place.directory_fd)
        try:
            details = os.fstat(fd)
            kind = stat.S_IFMT(details.st_mode)
            if key_of(details, place, self._kept.forgone) != key or kind in (stat.S_IFREG, stat.S_IFDIR):
                raise Vanished
            facts = facts_of(Opened(fd, details, is_place=True))
            self._kept.require(facts, place.full)
            node = node and self._unless_another(node, place, facts)
            is_changed = node is None or packed(facts) != node.facts
            if node is None:
                self._said.say(place.path, MakeNode(place.name, facts, details.st_atime_ns))
                node = self._index.add(place.parent, place.name, kind, key, self._said.number)
            elif is_changed:
                self._said.say(place.path, Adjust(place.name, facts, details.st_atime_ns))
            is_settled = self._moment.is_settled(details, os.fstat(fd))
            self.save(node, details, facts, b"", is_changed, is_settled)
            return is_settled
        finally:
            os.close(fd)

    def _unless_another(self, node: Node, place: Place, facts: Facts) -> Node | None:
        """A node may have got the number of one that is gone; these cannot become each other."""
        had = unpacked(node.facts)
        if (stat.S_IFMT(had.mode), had.target, had.device) == (stat.S_IFMT(facts.mode), facts.target, facts.device):
            return node
        self._said.remove(place.parent, place.path, place.name)
        self._index.set_key(node.id, None)
        return None

    def save(
        self, node: Node, details: os.stat_result, facts: Facts, digest: bytes, is_changed: bool, is_settled: bool
    ) -> None:
        """`is_changed`: the receiver's copy is."""
        node.changed = details.st_ctime_ns if is_settled else 0
        node.read_at = self._moment.began_ns
        node.size, node.facts, node.atime, node.digest = facts.size, packed(facts), details.st_atime_ns, digest
        self._index.save(node, is_changed)


def _sized(facts: Facts, size: int) -> Facts:
    return facts if facts.size == size else msgspec.structs.replace(facts, size=size)
