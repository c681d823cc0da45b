"""bbolt databases of the real engines are read whole; damaged and made-up ones end in one clear error, and soon."""

import gzip
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orlop.foreign.bolt import BoltDatabase, Bucket, DamagedDatabase
from support.bolt_files import PAGE, Tree, leaf, meta, page, write_database

SAMPLES = Path(__file__).parents[2] / "samples"


@contextmanager
def opened(content: bytes) -> Iterator[Bucket]:
    """Its root."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield BoltDatabase(file.fileno()).root


def read_all(bucket: Bucket) -> dict[bytes, object]:
    return {**dict(bucket.values()), **{key: read_all(inner) for key, inner in bucket.buckets()}}


def read(content: bytes) -> dict[bytes, object]:
    with opened(content) as root:
        return read_all(root)


def sample(name: str) -> bytes:
    return gzip.decompress((SAMPLES / name).read_bytes())


def test_dockers_is_read_whole() -> None:
    with opened(sample("docker-20.10-metadata.db.gz")) as root:
        bucket = root.bucket(b"volumes")
        assert bucket is not None
        records = {key.decode(): json.loads(value) for key, value in bucket.values()}
    assert len(records) == 305 and set(records) >= {f"many{number}" for number in range(1, 301)}
    assert records["labelled"] == {
        "Name": "labelled",
        "Driver": "local",
        "Labels": {"a": "1", "b": ""},
        "Options": None,
    }
    assert records["tm"]["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=10m"}


def test_podmans_is_read_whole() -> None:
    with opened(sample("podman-4.3-bolt_state.db.gz")) as root:
        volumes = dict((root.bucket(b"vol") or root).buckets())
        assert len(volumes) == 63
        config = json.loads(volumes[b"labelled"].value(b"config") or b"")
        assert config["labels"] == {"a": "1", "b": "two"}
        dependencies = volumes[b"labelled"].bucket(b"vol-dependencies")
        names = root.bucket(b"id-registry")
        assert dependencies and names
        assert [names.value(key) for key, _ in dependencies.values()] == [b"web"]


trees = st.recursive(
    st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=300), max_size=8),
    lambda inner: st.dictionaries(st.binary(min_size=1, max_size=20), inner | st.binary(max_size=50), max_size=5),
    max_leaves=10,
)


@given(trees, st.sampled_from([512, 4096, 65536]))
def test_what_was_written_is_read(tree: Tree, page_size: int) -> None:
    assert read(write_database(tree, page_size)) == tree


def test_the_later_of_two_headers_counts_unless_it_is_torn() -> None:
    content = write_database({b"a": b"new"})
    old, new = meta(0, 2, 4, transaction=6), meta(1, 3, 4, transaction=7)
    content = (
        old.ljust(PAGE, b"\0") + new.ljust(PAGE, b"\0") + leaf(2, {b"a": b"old"}).ljust(PAGE, b"\0") + content[-PAGE:]
    )
    assert read(content) == {b"a": b"new"}
    torn = bytearray(content)
    torn[PAGE + 40] ^= 1
    assert read(bytes(torn)) == {b"a": b"old"}
    assert read(b"\0" * PAGE + content[PAGE:]) == {b"a": b"new"}


def branching(children: list[int]) -> bytes:
    content = struct.pack("<QHHI", 3, 1, len(children), 0)
    return content + b"".join(struct.pack("<IIQ", 0, 0, child) for child in children)


@pytest.mark.parametrize(
    ("third", "why"),
    [
        (branching([3]), "without end|in circles"),  # itself
        (branching([3] * 200), "without end|in circles"),
        (branching([99]), "page 99 is named and there are 4"),
        (branching([0]), "page 0 is named"),
        (page(3, 2, [struct.pack("<I", 1)], [(b"b", struct.pack("<QQ", 3, 0))]), "without end"),  # a bucket in itself
        (page(3, 2, [struct.pack("<I", 1)], [(b"b", b"short")]), "has no header"),
        (page(3, 2, [struct.pack("<I", 1)], [(b"b", bytes(16))]), "own page is cut off"),
        (struct.pack("<QHHI", 3, 2, 65535, 0), "too short for its 65535 elements"),
        (struct.pack("<QHHI", 3, 2, 0, 2**32 - 1), "longer than the file"),
        (struct.pack("<QHHI", 3, 7, 0, 0), "of no known kind"),
        (struct.pack("<QHHI", 3, 2, 1, 0) + struct.pack("<IIII", 0, 16, 2**32 - 1, 2**32 - 1), "reaches out"),
    ],
)
def test_what_no_database_says_is_refused(third: bytes, why: str) -> None:
    content = write_database({})
    with pytest.raises(DamagedDatabase, match=why):
        read(content[: 3 * PAGE] + third.ljust(PAGE, b"\0"))


def test_elements_that_all_name_the_same_bytes_come_to_an_end() -> None:
    """A small file that would be read as terabytes."""
    count, pages = 60_000, 1100
    head = struct.pack("<QHHI", 3, 2, count, pages - 1)
    size = pages * PAGE
    table = b"".join(struct.pack("<IIII", 0, (count - n) * 16, 0, size - 16 - count * 16) for n in range(count))
    metas = [meta(n, 3, 3 + pages, n).ljust(PAGE, b"\0") for n in (0, 1)]
    content = b"".join(metas) + bytes(PAGE) + (head + table).ljust(size, b"\0")
    with pytest.raises(DamagedDatabase, match="in circles"), opened(content) as root:
        for _ in root.values():
            pass


@pytest.mark.parametrize("content", [b"", b"\0" * 10, b"SQLite format 3\0" * 300, os.urandom(40000)])
def test_other_files_are_no_databases(content: bytes) -> None:
    with pytest.raises(DamagedDatabase):
        read(content)


damage = st.lists(
    st.tuples(st.floats(0, 0.9999), st.sampled_from(["flip", "zero", "cut"]), st.integers(1, 255)), max_size=5
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["docker-20.10-metadata.db.gz", "podman-4.3-bolt_state.db.gz"]), damage)
@example("docker-20.10-metadata.db.gz", [(0.5, "cut", 1)])
def test_a_damaged_one_is_read_or_refused(name: str, deeds: list[tuple[float, str, int]]) -> None:
    data = bytearray(sample(name))
    for where, deed, value in deeds:
        at = int(where * len(data))
        if deed == "flip" and data:
            data[at] ^= value
        elif deed == "zero":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        else:
            del data[at:]
    with suppress(DamagedDatabase):
        read(bytes(data))
