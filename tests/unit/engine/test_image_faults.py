"""The disk or the journal fails at each step of each operation on images: it has happened or it has not."""

import errno
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.engine import faults, image_archive
from orlop.errors import HostFailure
from support.image_archives import ImageParts, docker_files, layer_tar, write_archive
from support.image_store import ImageStore

ROOTFS = layer_tar({"bin/sh": b"#!"})
PARTS = ImageParts([ROOTFS, layer_tar({"b": b"b"})])
ACTIONS = ("layer.create", "layer.apply", "upload.discard", "layer.seal")
STEPS = [f"{action}/{moment}" for action in ACTIONS for moment in ("before", "after")]


def load(store: ImageStore) -> None:
    upload = write_archive(store.data_root.incoming / "upload", docker_files([(PARTS, ["a:1"])]))
    try:
        store.load(upload)
    finally:
        upload.unlink(missing_ok=True)


def import_rootfs(store: ImageStore) -> None:
    upload = store.data_root.incoming / "upload"
    upload.write_bytes(ROOTFS)
    try:
        store.images.import_archive(upload, "a:1", (), "", "", store.reported.append)
    finally:
        upload.unlink(missing_ok=True)


ACTS: dict[str, Callable[[ImageStore], None]] = {"image.load": load, "image.import": import_rootfs}


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda point: monkeypatch.setattr(faults, "_FAULT", f"{point}=errno:ENOSPC" if point else "")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("operation", ACTS)
def test_full_disk_at_any_step_leaves_nothing_and_the_next_try_succeeds(
    store: ImageStore, fail_at: Callable[[str], None], operation: str, step: str
) -> None:
    before = store.state()
    fail_at(f"{operation}/{step}")
    with pytest.raises(HostFailure, match=r"No space left on device .*Free some space"):
        ACTS[operation](store)
    assert store.state() == before
    fail_at("")
    ACTS[operation](store)
    assert store.images.resolve("a:1")


@pytest.mark.parametrize("step", ["layer.create/undo", "layer.apply/undo", "layer.seal/undo"])
def test_clean_up_that_fails_is_made_good_at_the_next_start(
    store: ImageStore, fail_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = store.state()
    fail_at(f"image.load/{step}")
    with monkeypatch.context() as patched, pytest.raises(HostFailure):
        patched.setattr(store.images._catalogue, "get", refuse)  # the outcome fails, when all layers are there
        load(store)
    assert store.executor.stuck
    fail_at("")
    store.restart()
    assert store.state() == before


def refuse(_: str) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_layer_that_cannot_be_removed_is_removed_at_the_next_start(
    store: ImageStore, fail_at: Callable[[str], None], moment: str
) -> None:
    before = store.state()
    load(store)
    fail_at(f"image.remove/layer.remove/{moment}")
    store.images.remove("a:1", False, True)
    assert store.images.list_images({}, True) == []
    fail_at("")
    store.restart()
    assert store.state() == before


def test_disk_that_fills_while_a_compressed_archive_is_unpacked_is_named(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "archive.tar", docker_files([(PARTS, ["a:1"])]))
    archive.write_bytes(gzip.compress(archive.read_bytes()))
    before = store.state()

    def fill(source: Path, target: Path, hashed: bool = True) -> str:
        target.write_bytes(b"as far as it went")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_archive, "decompress", fill)
    with pytest.raises(HostFailure, match="No space left on device"):
        store.load(archive)
    assert store.state() == before
