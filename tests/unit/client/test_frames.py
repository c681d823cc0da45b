"""The frames of attach and logs, however they are cut on the way."""

from hypothesis import given
from hypothesis import strategies as st

from orlop.client.frames import STDERR, STDOUT, FrameReader


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@given(
    frames=st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=20)), max_size=8),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_each_stream_gets_its_own_bytes_in_order(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(*each) for each in frames)
    reader = FrameReader()
    got = {STDOUT: b"", STDERR: b""}
    for length in cuts:
        for stream, payload in reader.feed(data[:length]):
            got[stream] += payload
        data = data[length:]
    for stream, payload in reader.feed(data):
        got[stream] += payload
    for stream in got:
        assert got[stream] == b"".join(payload for wanted, payload in frames if wanted == stream)
