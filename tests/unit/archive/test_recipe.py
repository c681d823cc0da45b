"""A layer's tar, made again byte for byte; and what happens when the layer or the recipe is not what it was."""

import io
import os
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.archive.layer_tar import apply_layer
from orlop.archive.recipe import rebuild
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Whiteouts
from orlop.errors import HostFailure
from orlop.testing.archives import directory, file, make_tar

OWN = {"uid": os.getuid(), "gid": os.getgid()}
TAR = make_tar(directory("d", **OWN), file("d/a", b"x" * 3000, **OWN), file("b", b"y" * 700, **OWN))


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    (tmp_path / "t").write_bytes(TAR)
    (tmp_path / "layer").mkdir()
    source = ArchiveSource(tmp_path / "t")
    apply_layer(source, tmp_path / "layer", tmp_path / "recipe", tmp_path / "s", Whiteouts.APPLY)
    return tmp_path / "layer"


def made_again(layer: Path) -> bytes:
    out = io.BytesIO()
    rebuild(layer.parent / "recipe", layer, out)
    return out.getvalue()


def test_the_tar_is_made_again(layer: Path) -> None:
    assert made_again(layer) == TAR


def test_other_times_and_owners_do_not_matter(layer: Path) -> None:
    os.utime(layer / "d/a", (1, 1))
    (layer / "d/a").chmod(0o600)
    assert made_again(layer) == TAR


def test_an_altered_file_is_named(layer: Path) -> None:
    for content in (b"z" * 3000, b"x" * 2999, b""):
        (layer / "d/a").write_bytes(content)
        with pytest.raises(HostFailure, match="d/a"):
            made_again(layer)


@pytest.mark.parametrize("kind", ["missing", "link", "fifo", "directory", "parent is a link"])
def test_something_else_in_a_files_place_is_named_and_not_read(layer: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a").write_bytes(b"x" * 3000)
    (layer / "d/a").unlink()
    match kind:
        case "link":
            (layer / "d/a").symlink_to(tmp_path / "elsewhere/a")
        case "fifo":
            os.mkfifo(layer / "d/a")
        case "directory":
            (layer / "d/a").mkdir()
        case "parent is a link":
            (layer / "d").rmdir()
            (layer / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostFailure, match="d/a"):
        made_again(layer)


def test_a_missing_recipe_is_named(layer: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe").unlink()
    with pytest.raises(HostFailure, match="recipe"):
        made_again(layer)


def test_a_recipe_of_a_newer_format_is_refused(layer: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe").write_bytes(zstandard.compress(b'{"format": 2, "digest": ""}\nE'))
    with pytest.raises(HostFailure, match="format 2 is not known"):
        made_again(layer)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_recipe_is_a_failure_and_never_another_tar(layer: Path, tmp_path: Path, data: st.DataObject) -> None:
    recipe = tmp_path / "recipe"
    whole = recipe.read_bytes()
    plain = bytearray(zstandard.ZstdDecompressor().stream_reader(whole).read())
    try:
        at = data.draw(st.integers(0, len(plain) - 1))
        piece = data.draw(st.binary(max_size=8))
        plain[at : at + data.draw(st.integers(0, 8))] = piece
        recipe.write_bytes(zstandard.compress(bytes(plain)))
        with suppress(HostFailure):
            assert made_again(layer) == TAR
    finally:
        recipe.write_bytes(whole)
