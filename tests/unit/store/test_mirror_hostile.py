"""Neither side of a mirror believes the other: what it says leads nowhere else, fills no memory, hangs nobody."""

import os
import random
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import HostFailure, OrlopError, Unsupported
from orlop.store import mirror_receiver
from orlop.store.mirror import Aspect, Mirror
from orlop.store.mirror_receiver import receive
from orlop.store.mirror_words import (
    BLOCK,
    BYTES,
    GREETING,
    WORDS,
    Abilities,
    Adjust,
    Begin,
    Done,
    End,
    Enter,
    Facts,
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
    Severed,
    Small,
    Working,
    Zero,
)
from support.mirrors import mirroring

FILE = Facts(stat.S_IFREG | 0o600, os.geteuid(), os.getegid(), 1)
LINK = Facts(stat.S_IFLNK | 0o777, os.geteuid(), os.getegid(), 1, target=b"../outside")
FOLDER = Facts(stat.S_IFDIR | 0o700, os.geteuid(), os.getegid(), 1)


def framed(*words: object) -> bytes:
    body = msgspec.msgpack.encode(words)
    return struct.pack(">IB", len(body), WORDS) + body


@contextmanager
def far_side(work: Callable[[socket.socket], object]) -> Iterator[socket.socket]:
    """`work` at the other end of the stream, in a thread; what it raises is raised here."""
    near, far = socket.socketpair()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work(far)
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            raised.append(error)
        finally:
            far.close()

    thread = threading.Thread(target=run, name="far side")
    thread.start()
    try:
        yield near
    finally:
        near.close()
        thread.join()
    if raised:
        raise raised[0]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Beside it, what is nobody's to touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("mine")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def told(target: Path, sent: bytes) -> None:
    """To a receiver. Raises what it raises."""
    fd = os.open(target, os.O_RDONLY)
    try:
        with far_side(lambda stream: receive(stream, fd)) as stream:
            stream.sendall(GREETING + sent)
            stream.shutdown(socket.SHUT_WR)
            while stream.recv(1 << 16):
                pass
    finally:
        os.close(fd)


OUT = [
    [Enter(b"..")],
    [Enter(b"../outside")],
    [Enter(b"/")],
    [Enter(b"a/../../outside")],
    [Enter(b""), MakeDirectory(b"..")],
    [Enter(b""), MakeDirectory(b"../outside/made")],
    [Enter(b""), MakeDirectory(b"/made")],
    [Enter(b""), Small(b"../outside/file", False, FILE, 1, b"theirs")],
    [Enter(b""), Small(b"a\0b", True, FILE, 1, b"theirs")],
    [Enter(b""), Begin(b"../outside/file", False)],
    [Enter(b""), Remove(b"../outside")],
    [Enter(b""), Remove(b"..")],
    [Enter(b""), Remove(b".")],
    [Enter(b""), Remove(b"")],
    [Enter(b""), Move(b"stolen", b"../outside/file")],
    [Enter(b""), Move(b"stolen", b"/etc/hostname")],
    [Enter(b""), Link(b"stolen", b"../outside/file")],
    [Enter(b""), Adjust(b"..", FOLDER, 1)],
    [Enter(b""), MakeNode(b"l", LINK, 1), Enter(b"l")],
    [Enter(b""), MakeNode(b"l", LINK, 1), Remove(b"l/file")],
    [Enter(b""), MakeNode(b"l", LINK, 1), Move(b"stolen", b"l/file")],
    [Enter(b""), MakeNode(b"l", LINK, 1), Link(b"stolen", b"l/file")],
    [Enter(b""), MakeNode(b"l", LINK, 1), Begin(b"l", False)],
    [Enter(b""), MakeNode(b"l", LINK, 1), Begin(b"l", True)],
    [Enter(b""), MakeNode(b"l", LINK, 1), Adjust(b"l", FILE, 1)],
    [Enter(b""), MakeNode(b"l", LINK, 1), Look([(b"l", [b"file"])])],
    [Look([(b"../outside", [b"file"])])],
    [Look([(b"", [b"../outside/file"])])],
]
SENSELESS = [
    [MakeDirectory(b"a")],
    [End(FILE, 1)],
    [Zero(0, 1)],
    [Enter(b""), Begin(b"a", True), Begin(b"b", True)],
    [Enter(b""), Begin(b"a", True), Zero(-5, 3)],
    [Enter(b""), Begin(b"a", True), Zero(0, -3)],
    [Enter(b""), Begin(b"a", True), End(msgspec.structs.replace(FILE, size=-1), 1)],
    [Enter(b""), Begin(b"a", True), End(msgspec.structs.replace(FILE, size=2**63 - 1), 1)],
    [Enter(b""), Begin(b"a", True), End(msgspec.structs.replace(FILE, mtime_ns=2**63 - 1), -(2**63))],
    [Enter(b""), Begin(b"a", True), End(msgspec.structs.replace(FILE, uid=-5), 1)],
    [Enter(b""), Begin(b"a", True), End(msgspec.structs.replace(FILE, uid=2**40), 1)],
    [Enter(b""), Small(b"a", True, msgspec.structs.replace(FILE, xattrs=((b"\0", b""),)), 1, b"")],
    [Enter(b""), Small(b"a" * 300, True, FILE, 1, b"")],
    [Enter(b"a/" * 3000 + b"a")],
    [Enter(b""), MakeNode(b"a", FILE, 1)],
    [Enter(b""), MakeNode(b"a", msgspec.structs.replace(FILE, mode=stat.S_IFSOCK), 1)],
    [Enter(b""), MakeNode(b"a", msgspec.structs.replace(LINK, target=b""), 1)],
    [Enter(b""), MakeNode(b"a", msgspec.structs.replace(LINK, target=b"a\0b"), 1)],
    [Working(3)],
    [Hello(("everything",))],  # type: ignore[arg-type]
]


@pytest.mark.parametrize("words", OUT, ids=repr)
def test_nothing_leads_out_of_the_top(target: Path, words: list[object]) -> None:
    before = [(path, path.lstat().st_mtime_ns) for path in sorted((target.parent / "outside").rglob("*"))]
    with pytest.raises((OrlopError, OSError)):
        told(target, framed(*words))
    assert [(path, path.lstat().st_mtime_ns) for path in sorted((target.parent / "outside").rglob("*"))] == before
    assert (target.parent / "outside/file").read_text() == "mine"
    assert sorted(path.name for path in target.parent.iterdir()) == ["outside", "target"]
    assert not (target / "stolen").exists()


@pytest.mark.parametrize("words", SENSELESS, ids=lambda words: repr(words)[:60])
def test_what_cannot_be_is_refused(target: Path, words: list[object]) -> None:
    with pytest.raises((OrlopError, OSError)):
        told(target, framed(*words))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 3,
        struct.pack(">IB", 2**32 - 1, WORDS),
        struct.pack(">IB", 2**32 - 1, BYTES),
        struct.pack(">IB", 10, 77) + b"x" * 10,
        struct.pack(">IB", 3, BYTES) + b"xxx",
        struct.pack(">IB", 8 + BLOCK + 1, BYTES),
        struct.pack(">IBQ", 9, BYTES, 0) + b"x",
        framed("a text"),
        framed(["unheard of", 1]),
        framed(["enter", 7]),
        struct.pack(">IB", 5, WORDS) + b"\xdd\xff\xff\xff\xff",
        struct.pack(">IB", 60_000, WORDS) + b"\x91" * 60_000,
        b"",
    ],
)
def test_a_stream_of_something_else_is_refused(target: Path, sent: bytes) -> None:
    with pytest.raises(HostFailure):
        told(target, sent)


def test_another_version_is_refused_by_both(target: Path) -> None:
    def speak(stream: socket.socket) -> None:
        stream.sendall(b"orlop mirror 9999\n")
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(1 << 16):
            pass

    fd = os.open(target, os.O_RDONLY)
    try:
        with pytest.raises(Misspoken, match="another version"), far_side(lambda stream: receive(stream, fd)) as near:
            speak(near)
        with far_side(speak) as near, pytest.raises(Misspoken, match="another version"):
            Mirror(fd, near).bring()
    finally:
        os.close(fd)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_sender_that_says_anything_at_all(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Words of ours, put together at random: the receiver heeds or refuses them, and ends."""
    chance = random.Random(seed)
    names = [b"a", b"b", b"c", b"..", b"", b"a/b", b"\xff"]

    def word() -> object:
        name, old = chance.choice(names), b"/".join(chance.choices(names, k=chance.randrange(1, 3)))
        facts = msgspec.structs.replace(
            chance.choice([FILE, LINK, FOLDER]), size=chance.choice([0, 5, 2**20]), mtime_ns=chance.choice([0, -1, 9])
        )
        return chance.choice(
            [
                Enter(old),
                Enter(b""),
                MakeDirectory(name),
                MakeDirectory(name),
                Small(name, chance.random() < 0.7, facts, 1, b"data"),
                Begin(name, chance.random() < 0.7),
                Zero(chance.randrange(9), chance.randrange(9)),
                End(facts, 1),
                MakeNode(name, facts, 1),
                Adjust(name, facts, 1),
                Link(name, old),
                Move(name, old),
                Remove(name),
                Look([(old, [name])]),
            ]
        )

    top = tmp_path_factory.mktemp("fuzz")
    (top / "target").mkdir()
    with pytest.raises((OrlopError, OSError)):  # it never says Bye
        told(top / "target", framed(Enter(b""), *(word() for _ in range(chance.randrange(30)))))
    assert [path.name for path in top.iterdir()] == ["target"]


# The other way round


ABLE = Abilities((), (os.geteuid(), os.getegid()), 0o600, 0o700, [])


@pytest.mark.parametrize(
    "answers",
    [
        b"",
        framed(Done()),
        framed(ABLE, Done()),
        framed(ABLE, Seen([])),
        framed(ABLE, "text"),
        struct.pack(">IB", 2**32 - 1, WORDS),
        framed(ABLE) + struct.pack(">IBQ", 9, BYTES, 0) + b"x",
    ],
)
def test_a_receiver_that_answers_anything_at_all(tmp_path: Path, answers: bytes) -> None:
    (tmp_path / "file").write_text("x")
    fd = os.open(tmp_path, os.O_RDONLY)

    def answer(stream: socket.socket) -> None:
        stream.sendall(GREETING + answers)
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(1 << 16):
            pass

    try:
        with far_side(answer) as near, pytest.raises(HostFailure):
            mirror = Mirror(fd, near)
            mirror.bring()
            mirror.verify()
    finally:
        os.close(fd)


def test_a_receiver_that_did_not_look_is_found_out(tmp_path: Path) -> None:
    """It cannot know what is here: it is not told, but asked."""
    (tmp_path / "file").write_text("x")
    fd = os.open(tmp_path, os.O_RDONLY)

    def answer(stream: socket.socket) -> None:
        found = Found(FILE, b"\0" * 32, 5, 1)
        stream.sendall(GREETING + framed(ABLE, Done(), Seen([found, found])))
        while stream.recv(1 << 16):
            pass

    try:
        with far_side(answer) as near:
            mirror = Mirror(fd, near)
            mirror.bring()
            with pytest.raises(HostFailure, match="is not there as it is here"):
                mirror.verify()
    finally:
        os.close(fd)


@pytest.mark.parametrize("after", [1, 5, 40])
def test_a_receiver_that_goes_away_is_told(tmp_path: Path, after: int) -> None:
    for number in range(8):
        (tmp_path / str(number)).write_bytes(os.urandom(BLOCK))
    fd = os.open(tmp_path, os.O_RDONLY)

    def leave(stream: socket.socket) -> None:
        stream.sendall(GREETING + framed(ABLE))
        for _ in range(after):
            stream.recv(1 << 16)

    try:
        with far_side(leave) as near, pytest.raises(Severed):
            Mirror(fd, near).bring()
    finally:
        os.close(fd)


def test_a_sender_that_goes_away_is_told(target: Path) -> None:
    sent = framed(Hello(()), Enter(b""), Begin(b"half", True))
    for cut in range(0, len(sent), 7):
        with pytest.raises(Severed):
            told(target, sent[:cut])
        for path in target.iterdir():
            path.unlink()


# What the other side cannot keep


@pytest.fixture
def keeps_little(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(top_fd: int, there: list[bytes]) -> Abilities:
        lost = (Aspect.MODES, Aspect.TIMES, Aspect.NANOSECONDS, Aspect.HARD_LINKS, Aspect.SYMLINKS)
        return Abilities(lost, (os.geteuid(), os.getegid()), 0o644, 0o755, there)

    monkeypatch.setattr(mirror_receiver, "try_out", without)


@pytest.mark.usefixtures("keeps_little")
def test_what_would_be_lost_is_refused_before_its_file_is_sent(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir(mode=0o755)
    (source / "program").touch()
    (source / "program").chmod(0o700)
    loses = {Aspect.TIMES, Aspect.NANOSECONDS}
    refused = pytest.raises(Unsupported, match=r"program.*keeps no permissions")
    with refused, mirroring(source, tmp_path / "target", forgone=loses) as mirror:
        assert Aspect.SYMLINKS in mirror.lost()
        mirror.bring()
    (source / "program").chmod(0o644)
    (source / "link").symlink_to("program")
    refused = pytest.raises(Unsupported, match=r"link.*keeps no symbolic links")
    with refused, mirroring(source, tmp_path / "target2", forgone=loses) as mirror:
        mirror.bring()


@pytest.mark.usefixtures("keeps_little")
def test_what_nobody_insists_on_is_not_compared(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "one").write_bytes(b"x" * (BLOCK + 5))
    (source / "one").chmod(0o751)
    os.link(source / "one", source / "two")
    (source / "link").symlink_to("one")
    with mirroring(source, target, forgone=list(Aspect)) as mirror:
        assert [path for path, _ in mirror.bring().missed.entries] == ["link"]
        mirror.verify()
        (source / "two").unlink()
        (source / "three").hardlink_to(source / "one")
        assert mirror.bring().unsettled == 0
        mirror.verify()
    assert sorted(path.name for path in target.iterdir()) == ["one", "three"]
    assert (target / "one").stat().st_nlink == 1 and (target / "three").read_bytes() == (source / "one").read_bytes()
