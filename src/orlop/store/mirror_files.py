"""One regular file of the source to the receiver: what differs from what it has."""

import os
from collections.abc import Callable

from orlop.kernel.holes import data_within
from orlop.store.mirror_bytes import STRETCH, ZERO, Sum, blocks_with_data, digest_of, fill
from orlop.store.mirror_index import Index, Node
from orlop.store.mirror_words import BLOCK, SMALL, Begin, Wire, Zero

_DIGEST_BYTES = 32


class FileBytes:
    """Reads a file once: each block is hashed, and sent when the receiver has another one."""

    def __init__(self, index: Index, wire: Wire, told: Callable[[int], None]) -> None:
        """`told` hears how many bytes more were read, after each block; what it raises ends the work."""
        self._index = index
        self._wire = wire
        self.told = told
        self.buffer = memoryview(bytearray(BLOCK))
        self.sent_bytes = 0

    def read_small(self, fd: int, size: int) -> memoryview:
        """Good until the next call."""
        data = self.buffer[: fill(fd, self.buffer[:size], 0)]
        self.told(len(data))
        return data

    def sending(self, fd: int, details: os.stat_result, node: Node, name: bytes, is_new: bool) -> "Sending":
        """Of a file that is not small."""
        return Sending(self, self._index, self._wire, fd, details, node, name, is_new)


class Sending:
    """`run` once. It says `Begin` only when there is something to send; `End` is for who calls to say."""

    def __init__(
        self,
        owner: FileBytes,
        index: Index,
        wire: Wire,
        fd: int,
        details: os.stat_result,
        node: Node,
        name: bytes,
        is_new: bool,
    ) -> None:
        self._owner = owner
        self._index = index
        self._wire = wire
        self._fd = fd
        self._details = details
        self._node = node
        self._name = name
        self._is_new = is_new
        self.has_begun = False
        self._sum = Sum()
        self._stretch = -1
        self._old = b""
        self._new = bytearray()
        self._had = 0 if is_new else node.size  # bytes that the receiver has

    def run(self) -> tuple[int, bytes]:
        """The size and digest of what the receiver has after it."""
        buffer = self._owner.buffer
        if self._is_new:
            self.begin()
        size = self._details.st_size
        number = 0
        for block in blocks_with_data(self._fd, self._details):
            self._holes(number, block)
            wanted = min(BLOCK, size - block * BLOCK)
            view = buffer[: fill(self._fd, buffer[:wanted], block * BLOCK)]
            if len(view) < wanted:  # it was cut short meanwhile
                size = block * BLOCK + len(view)
            if not view:
                number = block
                break
            digest = digest_of(view)
            if digest != self._known(block):
                self._send_block(block, view)
            self._note(digest)
            self._owner.told(len(view))
            number = block + 1
            if len(view) < wanted:
                break
        self._holes(number, size // BLOCK)
        if number <= size // BLOCK and size % BLOCK:
            self._last_hole(size)
        self._close_stretch()
        self._index.forget_stretches(self._node.id, self._stretch + 1)
        return size, self._sum.digest()

    def begin(self) -> None:
        if not self.has_begun:
            self._wire.say(Begin(self._name, self._is_new))
            self.has_begun = True

    def _holes(self, number: int, end: int) -> None:
        """Blocks that are nothing but holes."""
        for block in range(number, end):
            if self._known(block) != ZERO:
                self.begin()
                self._wire.say(Zero(block * BLOCK, BLOCK))
            self._note(ZERO)

    def _last_hole(self, size: int) -> None:
        """The last block where it is a hole, and not a whole block."""
        block, count = divmod(size, BLOCK)
        digest = digest_of(bytes(count))
        if self._known(block) not in (digest, ZERO):
            self.begin()
            self._wire.say(Zero(block * BLOCK, count))
        self._note(digest)

    def _known(self, block: int) -> bytes:
        """The digest of what the receiver has there; what it has not is zeros as soon as the file is longer."""
        stretch, place = divmod(block, STRETCH)
        if stretch != self._stretch:
            self._close_stretch()
            self._stretch = stretch
            self._old = b"" if self._is_new else self._index.stretch(self._node.id, stretch)
        if block * BLOCK >= self._had:
            return ZERO
        if self._had <= SMALL:
            return b""  # it went with its name: its blocks are not known
        return self._old[place * _DIGEST_BYTES :][:_DIGEST_BYTES]

    def _note(self, digest: bytes) -> None:
        self._new += digest
        self._sum.add(digest)

    def _close_stretch(self) -> None:
        if self._new:
            self._index.save_stretch(self._node.id, self._stretch, bytes(self._new))
            self._new.clear()

    def _send_block(self, block: int, view: memoryview) -> None:
        """Holes within it stay holes."""
        self.begin()
        start = block * BLOCK
        end = start + len(view)
        if self._details.st_blocks * 512 >= self._details.st_size:
            self._wire.send_bytes(start, view)
            self._owner.sent_bytes += len(view)
            return
        is_fresh = start >= self._had
        done = start
        for begin, stop in data_within(self._fd, start, end):
            if begin > done and not is_fresh:
                self._wire.say(Zero(done, begin - done))
            self._wire.send_bytes(begin, view[begin - start : stop - start])
            self._owner.sent_bytes += stop - begin
            done = stop
        if done < end and not is_fresh:
            self._wire.say(Zero(done, end - done))
