"""Is what the receiver of a mirror has on its disk what was brought? Asked by its sender, which compares."""

import os
import stat
from collections.abc import Collection, Iterator

from orlop.errors import HostFailure
from orlop.model.value import dataclass
from orlop.store.mirror_facts import difference, reduced
from orlop.store.mirror_index import ROOT, Index, Listed, Node
from orlop.store.mirror_paths import joined
from orlop.store.mirror_said import packed, unpacked
from orlop.store.mirror_words import Abilities, Aspect, Found, Look, Misspoken

_MOST_NAMES = 1000
_MOST_BYTES = 256 << 20
_MOST_SPELLED_BYTES = 1 << 20  # of paths
_HINT = "The original is whole; try again, and look after the disk of the copy"


@dataclass(slots=True)
class Checked:
    entries: int = 0  # that have been compared and are the same, now or earlier
    compared: int = 0  # now
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    parent: int  # 0: the top itself
    path: bytes
    listed: Listed


class Check:
    """`compare` each answer before the next question."""

    def __init__(
        self, index: Index, abilities: Abilities, forgone: Collection[Aspect], passed_over: Collection[bytes]
    ) -> None:
        self._index = index
        self._forgone = frozenset(forgone)
        self._ignored = [name for name in {*abilities.there, *passed_over} if name in abilities.there]
        self._asked: list[_Asked] = []
        self.result = Checked()

    def questions(self) -> Iterator[Look]:
        self._asked = [_Asked(0, b"", Listed(b"", self._index.root(), 1))]
        groups: list[tuple[bytes, list[bytes]]] = [(b"", [b""])]
        size = spelled = 0
        for parent, listed in self._index.unchecked():
            path = self._index.path(parent)
            names: list[bytes] = []
            groups.append((path, names))
            spelled += len(path)
            for each in listed:
                names.append(each.name)
                self._asked.append(_Asked(parent, joined(path, each.name), each))
                size += each.node.size
                if size >= _MOST_BYTES or len(self._asked) >= _MOST_NAMES or spelled >= _MOST_SPELLED_BYTES:
                    yield Look(groups)
                    names = []
                    groups, size, spelled = [(path, names)], 0, len(path)
        if self._asked:
            yield Look(groups)
        self.result.entries = self._index.total() + 1

    @property
    def asked(self) -> int:
        """About how many entries."""
        return len(self._asked)

    def compare(self, answers: list[Found | None]) -> None:
        """Raises HostFailure for what differs."""
        asked, self._asked = self._asked, []
        if len(answers) != len(asked):
            raise Misspoken("comparing the copy", "the other side answered what it was not asked")
        for each, found in zip(asked, answers, strict=True):
            if why := self._difference(each, found):
                shown = os.fsdecode(each.path) or "its top directory"
                raise HostFailure("comparing the copy", f"{shown} is not there as it is here: {why}", _HINT)
            self.result.compared += 1
            self.result.read_bytes += each.listed.node.size
            if each.parent:
                self._index.check(each.parent, each.listed.name)

    def _difference(self, asked: _Asked, found: Found | None) -> str:
        if found is None:
            return "it is missing"
        node = asked.listed.node
        wanted = unpacked(node.facts)
        if packed(wanted) != packed(found.facts):
            why = difference(reduced(wanted, self._forgone), reduced(found.facts, self._forgone))
            if why:
                return why
        if stat.S_ISDIR(wanted.mode):
            return self._names_differ(node, found)
        if stat.S_ISREG(wanted.mode) and node.digest != found.digest:
            return "its bytes differ"
        return self._links_differ(asked.listed, found)

    def _names_differ(self, node: Node, found: Found) -> str:
        count = self._index.count(node.id)
        if node.id == ROOT:
            count += sum(1 for name in self._ignored if self._index.find(ROOT, name) is None)
        return "" if count == found.links else f"{found.links} entries are in it and not {count}"

    def _links_differ(self, listed: Listed, found: Found) -> str:
        """Names of one file name one file there, too: it has as many, and these are the same."""
        if listed.links != found.links:
            return f"it has {found.links} names and not {listed.links}"
        if listed.links > 1 and self._index.twin(listed.node.id, found.node) != found.node:
            return "it is another file than the one that has its other names"
        return ""
