"""The large files of a tree, which are copied beside the small ones: whole, with their attributes, or with an error."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.store import tree_bytes
from orlop.store.tree_bytes import LARGE
from orlop.store.trees import TreeCopy, copy_tree
from support.disks import mounted_disk
from support.leaks import descriptors

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, mounts")


@contextmanager
def opened(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    source_fd, target_fd = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target))
    try:
        yield source_fd, target_fd
    finally:
        os.close(source_fd)
        os.close(target_fd)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    return source, target


def test_many_large_files_come_with_all_that_belongs_to_them(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = trees
    monkeypatch.setattr(tree_bytes, "_WORTH_SYNCING", 4 * LARGE)
    for number in range(40):  # more than may wait at once
        path = source / f"file{number}"
        path.write_bytes(bytes([number]) * (LARGE + number))
        os.chown(path, number, 2 * number)
        path.chmod(0o6750 if number % 2 else 0o604)
        os.setxattr(path, "user.number", str(number).encode())
        os.utime(path, ns=(number, 10**18 + number))
    os.link(source / "file7", source / "again")
    with opened(source, target) as (source_fd, target_fd):
        assert copy_tree(source_fd, target_fd, sync_ahead=True) == 41
    for number in range(40):
        copy, details = target / f"file{number}", (target / f"file{number}").stat()
        assert copy.read_bytes() == bytes([number]) * (LARGE + number)
        assert (details.st_uid, details.st_gid) == (number, 2 * number)
        assert stat.S_IMODE(details.st_mode) == (0o6750 if number % 2 else 0o604)
        assert os.getxattr(copy, "user.number") == str(number).encode()
        assert details.st_mtime_ns == 10**18 + number
    assert (target / "file7").samefile(target / "again")
    assert (target / "file6").stat().st_nlink == 1


def test_the_disk_begins_while_small_files_are_still_copied(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = trees
    monkeypatch.setattr("orlop.store.trees._SYNC_EVERY", 10)
    synced: list[int] = []
    monkeypatch.setattr(tree_bytes, "sync_file_system", synced.append)
    for folder in range(5):
        (source / f"sub{folder}").mkdir()
        for number in range(10):
            (source / f"sub{folder}" / f"file{number}").write_text("x")
    with opened(source, target) as (source_fd, target_fd):
        before = descriptors()
        assert copy_tree(source_fd, target_fd) == 55
        assert not synced, "nobody asked for it"
        for path in target.iterdir():
            shutil.rmtree(path)
        assert copy_tree(source_fd, target_fd, sync_ahead=True) == 55
        assert 1 <= len(synced) <= 5
        assert descriptors() <= before


def test_a_disk_that_fails_while_it_begins_fails_the_copy(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of a lost write once: who hears of it must not keep it."""
    source, target = trees
    monkeypatch.setattr("orlop.store.trees._SYNC_EVERY", 5)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(tree_bytes, "sync_file_system", fail)
    for number in range(20):
        (source / f"file{number}").write_text("x")
    with opened(source, target) as (source_fd, target_fd):
        before = descriptors()
        with pytest.raises(OSError, match="Input/output error"):
            copy_tree(source_fd, target_fd, sync_ahead=True)
        assert descriptors() <= before


def test_files_of_a_directory_that_gives_its_own_group_keep_theirs(trees: tuple[Path, Path]) -> None:
    source, target = trees
    os.chown(target, 0, 77)
    target.chmod(0o2755)  # what is made in it gets group 77
    for number in range(4):
        (source / f"file{number}").write_text("x")
        (source / f"file{number}").chmod(0o640 if number % 2 else 0o600)
        os.chown(source / f"file{number}", 0, number // 2 * 33)
    with opened(source, target) as (source_fd, target_fd):
        copy_tree(source_fd, target_fd)
    found = [
        ((target / f"file{number}").stat().st_gid, (target / f"file{number}").stat().st_mode & 0o777)
        for number in range(4)
    ]
    assert found == [(0, 0o600), (0, 0o640), (33, 0o600), (33, 0o640)]


def test_a_disk_that_is_full_is_told_with_the_file_and_leaves_nothing_open(
    trees: tuple[Path, Path], tmp_path: Path
) -> None:
    source, _ = trees
    for number in range(30):
        (source / f"file{number}").write_bytes(b"x" * LARGE)
    with mounted_disk(tmp_path, 16 << 20) as small, opened(source, small) as (source_fd, target_fd):
        before = descriptors()
        with pytest.raises(OSError, match="file") as caught:
            copy_tree(source_fd, target_fd, sync_ahead=True)
        assert caught.value.errno == errno.ENOSPC
        assert descriptors() <= before


def test_an_error_among_the_small_files_ends_the_large_ones(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = trees
    for number in range(20):
        (source / f"file{number}").write_bytes(b"x" * LARGE)
    (source / "sub").mkdir()
    (source / "sub" / "small").write_text("x")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(TreeCopy, "_copy_bytes", fail)
    with opened(source, target) as (source_fd, target_fd):
        before = descriptors()
        with pytest.raises(OSError, match="sub/small"):
            copy_tree(source_fd, target_fd)
        assert descriptors() <= before
