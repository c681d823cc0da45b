"""Archives damaged at random: either the very same image comes in, or a clear refusal and nothing."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.errors import OrlopError
from support.image_archives import ImageParts, docker_files, layer_tar, oci_files, write_archive
from support.image_store import ImageStore

PARTS = ImageParts([layer_tar({"a": b"a" * 600}), layer_tar({"b": b"b"})], config={"Env": ["A=1"]})
KINDS = {"docker": docker_files([(PARTS, ["a:1"])]), "oci": oci_files([(PARTS, "a:1")], "gzip")}

damage = st.lists(
    st.tuples(
        st.floats(0, 0.999),  # where
        st.sampled_from(["flip", "insert", "delete", "cut", "zero"]),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, deeds: list[tuple[float, str, int]]) -> bytes:
    data = bytearray(content)
    for where, deed, value in deeds:
        at = int(where * len(data))
        match deed:
            case "flip" if data:
                data[at] ^= value or 1
            case "insert":
                data[at:at] = bytes([value])
            case "delete":
                del data[at : at + value]
            case "zero":
                data[at : at + 512] = bytes(len(data[at : at + 512]))
            case "cut":
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=damage)
def test_damaged_archive_is_the_same_image_or_nothing(
    store: ImageStore, tmp_path: Path, kind: str, deeds: list[tuple[float, str, int]]
) -> None:
    archive = write_archive(tmp_path / "archive.tar", KINDS[kind])
    archive.write_bytes(damaged(archive.read_bytes(), deeds))
    before = store.state()
    try:
        loaded = store.load(archive)
    except OrlopError as error:
        assert error.message
        assert error.status in (400, 501)
    else:
        for image_id, _ in loaded:
            store.images.remove(image_id, True, True)
        assert {image_id for image_id, _ in loaded} <= {PARTS.id}
    assert store.state() == before
