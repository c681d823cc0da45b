"""The line between two nodes, over this machine's loopback."""

import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from orlop.cluster import move_line
from orlop.cluster.address import Endpoint
from orlop.cluster.move_line import Door, Identity, Line, dial, make_identity, own_address
from orlop.errors import OrlopError, Unavailable
from support.daemon import wait_for


@pytest.fixture(scope="module")
def ends() -> tuple[Identity, Identity]:
    return make_identity("source"), make_identity("target")


@pytest.fixture
def line(ends: tuple[Identity, Identity]) -> Iterator[tuple[Line, Line]]:
    source, target = ends
    door = Door("127.0.0.1", target, source.certificate)
    there: list[Line] = []
    thread = threading.Thread(target=lambda: there.append(door.accept(10)))
    thread.start()
    here = dial(door.address, door.port, source, target.certificate)
    thread.join(10)
    yield here, there[0]
    close(here, there[0])


def close(*lines: Line) -> None:
    for line in lines:
        line.stream.close()  # each waits a moment for the other's
    for line in lines:
        line.close()


def say_all(stream: socket.socket, data: bytes) -> threading.Thread:
    def say() -> None:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=say)
    thread.start()
    return thread


def hear_all(stream: socket.socket) -> bytes:
    stream.settimeout(20)
    return b"".join(iter(lambda: stream.recv(1 << 20), b""))


def test_what_is_said_at_either_end_is_heard_at_the_other_at_once_and_whole(line: tuple[Line, Line]) -> None:
    here, there = line
    up, down = bytes(range(256)) * 40_000, b"x" * 5_000_001
    threads = [say_all(here.stream, up), say_all(there.stream, down)]
    heard: list[bytes] = []
    other = threading.Thread(target=lambda: heard.append(hear_all(here.stream)))
    other.start()
    assert hear_all(there.stream) == up
    for thread in (*threads, other):
        thread.join(20)
    assert heard == [down]
    assert not here.failure
    assert not there.failure


def test_a_line_that_broke_ends_what_is_read_and_says_why(line: tuple[Line, Line]) -> None:
    here, there = line
    here.cut()
    assert hear_all(there.stream) == b""
    wait_for("the reason", lambda: there.failure)


def test_a_peer_that_gives_no_sign_counts_as_gone(ends: tuple[Identity, Identity]) -> None:
    source, target = ends
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        context = target.context(ssl.PROTOCOL_TLS_SERVER, source.certificate)
        silent: list[ssl.SSLSocket] = []

        def accept() -> None:
            silent.append(context.wrap_socket(server.accept()[0], server_side=True))

        thread = threading.Thread(target=accept)
        thread.start()
        wrapped = source.context(ssl.PROTOCOL_TLS_CLIENT, target.certificate).wrap_socket(
            socket.create_connection(server.getsockname())
        )
        thread.join(10)
        here = Line(wrapped, silence_seconds=0.2)
        assert hear_all(here.stream) == b""
        assert "gave no sign" in wait_for("the reason", lambda: here.failure)
        here.close()
        silent[0].close()


@pytest.mark.parametrize("wrong", ["who comes", "who listens"])
def test_nobody_but_the_expected_peer_gets_through(ends: tuple[Identity, Identity], wrong: str) -> None:
    source, target = ends
    stranger = make_identity("stranger")
    door = Door("127.0.0.1", stranger if wrong == "who listens" else target, source.certificate)
    came: list[Line] = []

    def accept() -> None:
        with pytest.raises(Unavailable):
            came.append(door.accept(20))

    thread = threading.Thread(target=accept)
    thread.start()
    comer = stranger if wrong == "who comes" else source
    if wrong == "who listens":
        with pytest.raises(OrlopError):
            dial(door.address, door.port, comer, target.certificate)
    else:
        line = dial(door.address, door.port, comer, target.certificate)  # it hears of the refusal when it speaks
        assert hear_all(line.stream) == b""
        assert wait_for("the refusal", lambda: line.failure)
        line.close()
    door.close()
    thread.join(10)
    assert not came


def test_who_knocks_without_a_word_or_with_nonsense_keeps_nobody_out(ends: tuple[Identity, Identity]) -> None:
    source, target = ends
    door = Door("127.0.0.1", target, source.certificate)
    came: list[Line] = []
    thread = threading.Thread(target=lambda: came.append(door.accept(20)))
    thread.start()
    with closing(socket.create_connection((door.address, door.port))) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    here = dial(door.address, door.port, source, target.certificate)
    thread.join(10)
    assert hear_all_of(here, came[0]) == b"hello"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((door.address, door.port))
    close(here, came[0])


def hear_all_of(here: Line, there: Line) -> bytes:
    say_all(here.stream, b"hello")
    return hear_all(there.stream)


def test_a_piece_that_is_too_long_ends_the_line(ends: tuple[Identity, Identity]) -> None:
    source, target = ends
    door = Door("127.0.0.1", target, source.certificate)
    came: list[Line] = []
    thread = threading.Thread(target=lambda: came.append(door.accept(20)))
    thread.start()
    context = source.context(ssl.PROTOCOL_TLS_CLIENT, target.certificate)
    with context.wrap_socket(socket.create_connection((door.address, door.port))) as wire:
        thread.join(10)
        wire.sendall(b"\x7f\xff\xff\xff" + b"x" * 100)
        assert hear_all(came[0].stream) == b""
    assert "which nobody of ours does" in wait_for("the reason", lambda: came[0].failure)
    came[0].close()


def test_a_key_is_not_shown(ends: tuple[Identity, Identity]) -> None:
    assert "PRIVATE" not in repr(ends[0])
    assert "PRIVATE" not in ends[0].certificate


def test_the_own_address_is_where_the_way_to_etcd_begins() -> None:
    assert own_address([Endpoint("127.0.0.1", 1)]) == "127.0.0.1"
    with pytest.raises(Unavailable, match="--cluster-address"):
        own_address([])


def test_the_other_side_is_told_that_work_gets_on_of_which_there_is_nothing_to_tell_yet(
    line: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = line
    monkeypatch.setattr(move_line, "_SIGN_SECONDS", 0.05)
    work = itertools.count()
    there.vouch(lambda: str(next(work)))
    seen = here.counted()
    wait_for("a sign", lambda: here.counted() != seen)
    there.vouch(lambda: "stuck")
    wait_for("the last of its signs", lambda: there._told_last == "stuck")
    here.stream.sendall(b"x")
    assert there.stream.recv(1) == b"x"
    there.stream.sendall(b"y")
    assert here.stream.recv(1) == b"y", "what was on its way before is there"
    seen = here.counted()
    heard_at = here._heard_at
    wait_for("a sign that says nothing of it", lambda: here._heard_at > heard_at)
    assert here.counted() == seen
