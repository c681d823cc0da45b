"""Deleting a tree: promise 2, never across a mount and never through a link."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.errors import Conflict
from orlop.kernel.mounts import MNT_DETACH, bind, is_mount_point, mount, mounts_at_or_below, unmount
from orlop.store.files import remove_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("x")
    yield root
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def test_a_tree_goes_and_going_again_is_success(tree: Path) -> None:
    remove_tree(tree)
    assert not tree.exists()
    remove_tree(tree)


def test_links_are_removed_and_never_followed(tree: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "note").write_text("kept")
    (tree / "a" / "link").symlink_to(precious)
    remove_tree(tree)
    assert (precious / "note").read_text() == "kept"


def test_a_link_in_place_of_the_tree_is_unlinked(tree: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tree)
    remove_tree(link)
    assert not link.is_symlink()
    assert (tree / "a" / "file").exists()


def test_nothing_is_deleted_while_something_is_mounted_below(tree: Path) -> None:
    mount("tmpfs", tree / "a" / "b", "tmpfs")
    (tree / "a" / "b" / "note").write_text("kept")
    with pytest.raises(Conflict, match="mount point"):
        remove_tree(tree)
    assert (tree / "a" / "b" / "note").read_text() == "kept"
    assert (tree / "a" / "file").exists()


def test_a_bind_mount_of_the_same_disk_stops_the_walk_itself(tree: Path, tmp_path: Path, monkeypatch) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "note").write_text("kept")
    bind(precious, tree / "a" / "b")
    monkeypatch.setattr("orlop.store.files.mounts_at_or_below", lambda path: [])  # mounted just after the question
    with pytest.raises(Conflict, match="mounted"):
        remove_tree(tree)
    assert (precious / "note").read_text() == "kept"
    assert is_mount_point(tree / "a" / "b")


def test_a_tree_deeper_than_descriptors_allow_goes_too(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        child = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(fd)
    remove_tree(top)
    assert not top.exists()


def test_mount_table_names_are_unescaped(tmp_path: Path) -> None:
    place = tmp_path / "with space\\and\ttab"
    place.mkdir()
    mount("tmpfs", place, "tmpfs")
    try:
        assert is_mount_point(place)
    finally:
        unmount(place)
