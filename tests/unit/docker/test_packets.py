"""Packets of a supervisor, in any order and size, to frames."""

import socket

from hypothesis import given
from hypothesis import strategies as st

from orlop.docker.packets import MAX_PACKET_BYTES, PACKETS_AT_ONCE, receive_packets

PACKETS = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20) | st.integers(8000, 8192).map(lambda size: b"x" * size)),
    max_size=PACKETS_AT_ONCE,
)


def through(packets: list[tuple[int, bytes]], stdout: bool, stderr: bool, framed: bool) -> tuple[bytes, bool]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        for stream, data in packets:
            theirs.send(bytes([stream + 1]) + data)
        ours.setblocking(False)
        return receive_packets(ours, stdout, stderr, framed)


def unframed(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[4:8], "big")
        assert data[1:4] == b"\0\0\0"
        found.append((data[0], data[8 : 8 + length]))
        data = data[8 + length :]
    return found


def merged(packets: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbours of one stream together."""
    found: list[tuple[int, bytes]] = []
    for stream, data in packets:
        if data and found and found[-1][0] == stream:
            found[-1] = (stream, found[-1][1] + data)
        elif data:
            found.append((stream, data))
    return found


@given(packets=PACKETS, stdout=st.booleans(), stderr=st.booleans())
def test_frames_hold_what_was_sent_stream_by_stream(
    packets: list[tuple[int, bytes]], stdout: bool, stderr: bool
) -> None:
    data, ended = through(packets, stdout, stderr, framed=True)
    wanted = [each for each in packets if (stdout if each[0] == 1 else stderr)]
    assert unframed(data) == merged(wanted)
    assert not ended


@given(packets=PACKETS)
def test_a_terminals_bytes_come_as_they_are(packets: list[tuple[int, bytes]]) -> None:
    data, _ = through(packets, True, True, framed=False)
    assert data == b"".join(data for _, data in packets)


def test_the_end_is_told_with_what_came_before_it() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.send(b"\x02last")
        theirs.close()
        ours.setblocking(False)
        assert receive_packets(ours, True, True, framed=True) == (b"\x01\0\0\0\0\0\0\x04last", True)


def test_the_largest_packet_fits() -> None:
    data, _ = through([(1, b"x" * (MAX_PACKET_BYTES - 1))], True, True, framed=True)
    assert len(data) == 8 + MAX_PACKET_BYTES - 1


def test_output_is_not_lost_when_the_supervisor_goes_without_reading_its_input() -> None:
    supervisor, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)
        supervisor.send(b"\x02one")
        supervisor.send(b"\x02two")
        ours.send(b"nobody reads this")
        supervisor.close()
        assert receive_packets(ours, stdout=True, stderr=True, framed=False) == (b"onetwo", True)
