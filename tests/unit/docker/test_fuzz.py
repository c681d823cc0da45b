"""The edge under random bytes, split anywhere: it answers or closes, and goes on serving others."""

import contextlib
import json
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.docker.detach import DetachFilter
from orlop.docker.framing import ChunkDecoder, LengthDecoder
from orlop.docker.wire.container import ContainerCreate
from orlop.docker.wire.decoding import decode_json
from orlop.errors import Malformed
from support.edge import Served

PIECES = st.sampled_from(
    [
        b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /volumes/create HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n",
        b'{"Name":"data"}',
        b"POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"\r\n\r\n",
        b"Connection: Upgrade\r\nUpgrade: tcp\r\n",
        b"HEAD /volumes HTTP/1.0\r\n\r\n",
        b"GET /v1.41/volumes/%ff%00%2e%2e HTTP/1.1\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00",
    ]
)
STREAMS = st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12).map(b"".join)
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=6))
def test_whatever_is_sent_the_edge_answers_or_closes_and_serves_on(
    served: Served, stream: bytes, cuts: list[int]
) -> None:
    with served.connect() as exchange:
        start = 0
        try:
            for cut in sorted({*cuts, len(stream)}):
                exchange.send(stream[start:cut])
                start = max(start, cut)
            exchange.socket.shutdown(socket.SHUT_WR)
            rest = exchange.rest()
        except ConnectionError:
            rest = b""
    for line in rest.split(b"\r\n"):
        if line.startswith(b"HTTP/1.1 5"):
            raise AssertionError((stream, rest))
    assert served.call("GET", "/_ping").body == b"OK"


def decode(decoder: ChunkDecoder | LengthDecoder, data: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    """Fed in pieces: the body, and what follows."""
    body, start, rest = b"", 0, None
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        piece, start = data[start:cut], cut
        if rest is not None:
            rest += piece
            continue
        pieces, rest = decoder.feed(piece)
        body += b"".join(pieces)
    return body, rest


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50)),
    rest=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 600), max_size=10),
)
def test_chunks_split_anywhere_give_the_same_body(chunks: list[bytes], rest: bytes, cuts: list[int]) -> None:
    data = b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n" + rest
    assert decode(ChunkDecoder(), data, cuts) == (b"".join(chunks), rest)


@given(body=st.binary(min_size=1), rest=st.binary(max_size=20), cuts=st.lists(st.integers(0, 100), max_size=10))
def test_a_length_splits_body_and_rest(body: bytes, rest: bytes, cuts: list[int]) -> None:
    assert decode(LengthDecoder(len(body)), body + rest, cuts) == (body, rest)


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=10))
def test_no_bytes_break_the_chunk_decoder(data: bytes, cuts: list[int]) -> None:
    try:
        decode(ChunkDecoder(), data, cuts)
    except Malformed as error:
        assert "chunk" in error.message


@given(
    keys=st.sampled_from([b"\x10\x11", b"a", b"aab", b"aaa", b"abab"]),
    typed=st.binary(max_size=30) | st.text("ab\x10\x11", max_size=30).map(str.encode),
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_detaching_does_not_depend_on_how_the_keys_arrive(keys: bytes, typed: bytes, cuts: list[int]) -> None:
    """And nothing typed before the sequence is lost."""
    whole, ends = DetachFilter(keys).feed(typed)
    filter_, passed, ended, start = DetachFilter(keys), b"", False, 0
    for cut in [*sorted(cut for cut in cuts if cut < len(typed)), len(typed)]:
        piece, ended = filter_.feed(typed[start:cut])
        passed, start = passed + piece, cut
        if ended:
            break
    assert (passed, ended) == (whole, ends)
    assert ends or typed.startswith(whole)
    assert not ends or typed.startswith(whole + keys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Image", "cmd", "HOSTCONFIG", "hostconfig", "Binds", "Mounts", "Labels", "Env", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(value=JSON)
def test_any_json_is_a_request_or_malformed(value: object) -> None:
    try:
        decode_json(json.dumps(value).encode(), ContainerCreate)
    except Malformed as error:
        assert "invalid JSON" in error.message


@given(raw=st.binary(max_size=100))
def test_any_bytes_are_a_request_or_malformed(raw: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode_json(raw or b"{}", ContainerCreate)
