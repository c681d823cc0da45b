"""What passes between the two sides of a mirror (mirror.py): the words, how they are framed, and how large they may be.

Both say `GREETING` first, with the version of what follows. Then frames, both ways:

    length (4 bytes), kind (1 byte), then
        WORDS   a msgpack list of words, in the order in which they are to be heeded
        BYTES   an offset (8 bytes), and bytes of the file that was begun last

The sender speaks of one directory at a time (`Enter`), and then of names in it; a name is one part of a path. It asks
with `Flush` and `Look`, and the receiver answers in order; between, the receiver speaks only to say that it failed, or
how far it is.
"""

import select
import struct
from enum import StrEnum
from typing import Protocol, TypeVar

import msgspec

from orlop.errors import HostFailure

VERSION = 1
GREETING = b"orlop mirror %04d\n" % VERSION
WORDS, BYTES = 1, 2
BLOCK = 1 << 20  # bytes of a file that are hashed, compared and sent together
SMALL = 128 << 10  # a file of no more goes with its name, among the words
_WORDS_TOGETHER = 256 << 10
_MOST_WORDS = 8 << 20  # bytes of a frame that the other side may make us hold
_FRAME = struct.Struct(">IB")
_OFFSET = struct.Struct(">Q")


class Aspect(StrEnum):
    """What a file system may be unable to keep."""

    OWNERS = "owners"
    MODES = "permissions"
    TIMES = "times of change"
    NANOSECONDS = "fractions of seconds of times"
    XATTRS = "extended attributes"
    ACLS = "access control lists"
    HARD_LINKS = "hard links"
    SYMLINKS = "symbolic links"
    SPECIAL = "devices and fifos"


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """All that is compared of an entry but its bytes."""

    mode: int  # its kind too
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0  # of a regular file
    device: int = 0
    target: bytes = b""  # of a symbolic link
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class Hello(msgspec.Struct, array_like=True, tag="hello"):
    forgone: tuple[Aspect, ...]


class Enter(msgspec.Struct, array_like=True, tag="enter"):
    path: bytes  # below the top; b"" is the top


class MakeDirectory(msgspec.Struct, array_like=True, tag="dir"):
    name: bytes


class Small(msgspec.Struct, array_like=True, tag="small"):
    name: bytes
    is_new: bool
    facts: Facts
    atime_ns: int
    data: bytes


class Begin(msgspec.Struct, array_like=True, tag="begin"):
    name: bytes
    is_new: bool


class Zero(msgspec.Struct, array_like=True, tag="zero"):
    offset: int
    count: int


class End(msgspec.Struct, array_like=True, tag="end"):
    facts: Facts
    atime_ns: int


class MakeNode(msgspec.Struct, array_like=True, tag="node"):
    """A symbolic link, fifo or device."""

    name: bytes
    facts: Facts
    atime_ns: int


class Adjust(msgspec.Struct, array_like=True, tag="adjust"):
    """Of anything but a regular file; the name b"" is the directory itself."""

    name: bytes
    facts: Facts
    atime_ns: int


class Link(msgspec.Struct, array_like=True, tag="link"):
    name: bytes
    old: bytes  # a path below the top


class Move(msgspec.Struct, array_like=True, tag="move"):
    name: bytes
    old: bytes


class Remove(msgspec.Struct, array_like=True, tag="remove"):
    name: bytes


class Flush(msgspec.Struct, array_like=True, tag="flush"):
    """Answered by Done: everything said so far is on the disk."""


class Look(msgspec.Struct, array_like=True, tag="look"):
    """Answered by Seen, in the order of these."""

    groups: list[tuple[bytes, list[bytes]]]  # a directory's path, names in it; the name b"" is the directory itself


class Bye(msgspec.Struct, array_like=True, tag="bye"):
    pass


class Abilities(msgspec.Struct, array_like=True, tag="abilities"):
    """What the receiver's file system is like, tried out."""

    lost: tuple[Aspect, ...]
    owner: tuple[int, int]  # what is made there belongs to
    file_mode: int
    directory_mode: int
    there: list[bytes]  # at the top already


class Done(msgspec.Struct, array_like=True, tag="done"):
    pass


class Working(msgspec.Struct, array_like=True, tag="working"):
    read_bytes: int


class Found(msgspec.Struct, array_like=True):
    facts: Facts
    digest: bytes = b""
    node: int = 0
    links: int = 0  # names that it has; of a directory: names in it


class Seen(msgspec.Struct, array_like=True, tag="seen"):
    found: list[Found | None]  # None: it is not there


class Failed(msgspec.Struct, array_like=True, tag="failed"):
    errno: int  # 0: it was no call that failed
    why: str
    path: bytes


SenderWord = (
    Hello
    | Enter
    | MakeDirectory
    | Small
    | Begin
    | Zero
    | End
    | MakeNode
    | Adjust
    | Link
    | Move
    | Remove
    | Flush
    | Look
    | Bye
)
ReceiverWord = Abilities | Done | Working | Seen | Failed
T = TypeVar("T")

_ENCODER = msgspec.msgpack.Encoder()


class Stream(Protocol):
    """A connected socket, with TLS or without; blocking, or with a timeout."""

    def sendall(self, data: "bytes | bytearray | memoryview", /) -> None: ...
    def recv_into(self, buffer: "bytearray | memoryview", /) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class Severed(HostFailure):
    """The other side has gone, or the way to it."""


class Misspoken(HostFailure):
    """The other side said what makes no sense."""


class Wire:
    """One side's end. Words wait to be sent until there are enough of them, somebody asks, or bytes follow."""

    def __init__(self, stream: Stream, hears: "type[SenderWord] | type[ReceiverWord] | object", subject: str) -> None:
        self._stream = stream
        self._decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(list[hears])  # type: ignore[valid-type]
        self._subject = subject
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._heard: list[object] = []  # the next one last
        self._header = bytearray(_FRAME.size)
        self._room = bytearray(_OFFSET.size + BLOCK)
        self.sent_bytes = 0

    def greet(self) -> None:
        """Say the version, and hear the other's. Raises Misspoken for another one."""
        self._send(GREETING)
        heard = bytearray(len(GREETING))
        self._receive(memoryview(heard))
        if heard != GREETING:
            raise Misspoken(
                self._subject, "the other side speaks another version of it", "Run the same version of orlop"
            )

    def say(self, word: object) -> None:
        packed = _ENCODER.encode(word)
        self._waiting.append(packed)
        self._waiting_bytes += len(packed)
        if self._waiting_bytes >= _WORDS_TOGETHER or len(self._waiting) >= 65_000:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            body = b"".join((b"\xdc", struct.pack(">H", len(self._waiting)), *self._waiting))
            self._waiting.clear()
            self._waiting_bytes = 0
            self._send(_FRAME.pack(len(body), WORDS) + body)

    def send_bytes(self, offset: int, data: memoryview) -> None:
        self.flush()
        self._send(_FRAME.pack(_OFFSET.size + len(data), BYTES) + _OFFSET.pack(offset))
        self._send(data)

    def has_heard(self) -> bool:
        """Whether the other side has said something that waits to be heard."""
        pending = getattr(self._stream, "pending", None)
        if self._heard or (pending is not None and pending()):
            return True
        poller = select.poll()
        poller.register(self._stream.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def hear(self) -> object:
        """The next word, or (offset, bytes): these are good until the next call."""
        while not self._heard:
            self._receive(memoryview(self._header))
            length, kind = _FRAME.unpack(self._header)
            if kind == BYTES:
                return self._hear_bytes(length)
            if kind != WORDS or length > _MOST_WORDS:
                raise Misspoken(self._subject, "the other side sent a frame of no known kind or size")
            body = bytearray(length)
            self._receive(memoryview(body))
            try:
                words = self._decoder.decode(body)
            except msgspec.MsgspecError as error:
                raise Misspoken(self._subject, f"the other side spoke in no words of ours: {error}") from error
            assert isinstance(words, list)
            self._heard = words[::-1]
        return self._heard.pop()

    def skip(self) -> None:
        """Take what comes, and heed it not."""
        self._receive_some(memoryview(self._room))

    def _hear_bytes(self, length: int) -> tuple[int, memoryview]:
        if not _OFFSET.size < length <= len(self._room):
            raise Misspoken(self._subject, "the other side sent too many bytes at once")
        view = memoryview(self._room)[:length]
        self._receive(view)
        (offset,) = _OFFSET.unpack_from(view)
        return offset, view[_OFFSET.size :]

    def _send(self, data: "bytes | memoryview") -> None:
        try:
            self._stream.sendall(data)
        except TimeoutError as error:
            raise Severed(self._subject, "the other side took nothing any more") from error
        except (OSError, ValueError) as error:
            raise Severed(self._subject, f"the connection was lost: {error}") from error
        self.sent_bytes += len(data)

    def _receive(self, view: memoryview) -> None:
        while view:
            view = view[self._receive_some(view) :]

    def _receive_some(self, view: memoryview) -> int:
        try:
            count = self._stream.recv_into(view)
        except TimeoutError as error:
            raise Severed(self._subject, "the other side said nothing any more") from error
        except (OSError, ValueError) as error:
            raise Severed(self._subject, f"the connection was lost: {error}") from error
        if not count:
            raise Severed(self._subject, "the other side has gone")
        return count
