"""What the sender of a mirror says to the receiver about names, and notes in the index at once."""

import os
import stat

import msgspec

from orlop.store.mirror_index import ROOT, Index, Node
from orlop.store.mirror_kept import Kept
from orlop.store.mirror_paths import joined
from orlop.store.mirror_words import Adjust, Enter, Facts, Link, MakeDirectory, Move, Remove, Wire

_ASIDE = b".orlop-mirror-"
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Facts)


def packed(facts: Facts) -> bytes:
    return _ENCODER.encode(facts)


def unpacked(facts: bytes) -> Facts:
    return _DECODER.decode(facts)


class Said:
    """Of one pass."""

    def __init__(self, wire: Wire, index: Index, number: int, kept: Kept) -> None:
        self._wire = wire
        self._index = index
        self.number = number
        self._kept = kept
        self._at: bytes | None = None  # the directory that the receiver is in
        self._aside = -1  # node of the directory for what may be wanted yet
        self.changed = 0

    def enter(self, path: bytes) -> None:
        if self._at != path:
            self._wire.say(Enter(path))
            self._at = path

    def say(self, path: bytes, word: object) -> None:
        """About what is in the directory `path`, or part of it."""
        self.enter(path)
        self._wire.say(word)
        self.changed += 1

    def make_directory(self, parent: int, path: bytes, name: bytes, key: str | None, facts: Facts) -> Node:
        """`facts` hold until it has been gone through, or for good where it cannot be."""
        self.say(path, MakeDirectory(name))
        made = self._index.add(parent, name, stat.S_IFDIR, key, self.number)
        made.facts = packed(facts)
        self._index.save(made, is_changed=True)
        return made

    def remove(self, parent: int, path: bytes, name: bytes) -> None:
        self.say(path, Remove(name))
        self._index.unlink(parent, name)

    def adjust_directories(self) -> None:
        """Those in which something was done, or which are to be otherwise."""
        for node in self._index.spoilt():
            self.enter(self._index.path(node.id))
            self._wire.say(Adjust(b"", unpacked(node.facts), node.atime))

    def place(self, parent: int, path: bytes, name: bytes, kind: int, key: str, details: os.stat_result) -> Node | None:
        """The receiver's copy of that node, which has this name there now; None when there is none, and then nothing
        has that name."""
        known = self._index.find(parent, name)
        if known is not None and known.kind == kind:
            is_it = known.key == key
            if not is_it and kind == stat.S_IFDIR and self._index.by_key(key) is None:
                self._index.set_key(known.id, key)
                is_it = True
            if is_it:
                self._index.see(parent, name, self.number)
                return known
        if known is not None:
            self._clear(parent, path, name, known)
        other = self._index.by_key(key)
        if other is None:
            return None
        if other.kind != kind or not self._bring_here(other, parent, path, name, details):
            self._index.set_key(other.id, None)
            return None
        return other

    def _clear(self, parent: int, path: bytes, name: bytes, known: Node) -> None:
        """Take away what has the name. What has no other is put aside: it may be wanted at another place."""
        is_last = len(self._index.names(known.id, self.number)) == 1
        if not (is_last and known.kind in (stat.S_IFREG, stat.S_IFDIR) and known.key is not None):
            self.remove(parent, path, name)
            return
        if self._aside < 0:
            name_aside = _ASIDE + os.urandom(8).hex().encode()
            facts = Facts(stat.S_IFDIR | 0o700, 0, 0, 0)
            self._aside = self.make_directory(ROOT, b"", name_aside, None, facts).id
        to = b"%d" % known.id
        aside_path = self._index.path(self._aside)
        self.say(aside_path, Move(to, joined(path, name)))
        self._index.move((parent, name), (self._aside, to), 0)

    def _bring_here(self, other: Node, parent: int, path: bytes, name: bytes, details: os.stat_result) -> bool:
        """What the receiver has under another name gets this one. False when it cannot."""
        (from_parent, from_name, is_seen), *_ = self._index.names(other.id, self.number)
        old = joined(self._index.path(from_parent), from_name)
        if other.kind == stat.S_IFDIR:
            if joined(path, name).startswith(old + b"/"):
                return False
        elif details.st_nlink > 1 or is_seen:
            if not self._kept.keeps_links:
                self._kept.require_links(joined(path, name))
                return False
            self.say(path, Link(name, old))
            self._index.link(parent, name, other.id, self.number)
            return True
        self.say(path, Move(name, old))
        self._index.move((from_parent, from_name), (parent, name), self.number)
        return True

    def remove_gone(self) -> None:
        """What the pass did not see in the directories that it went through."""
        for parent, name in self._index.gone(self.number):
            self.remove(parent, self._index.path(parent), name)
        # The directory for what was put aside is of this pass, and seen by nobody.
        if self._aside >= 0:
            path = self._index.path(self._aside)
            self.remove(ROOT, b"", path)
