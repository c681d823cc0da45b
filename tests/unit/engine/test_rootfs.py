"""Making a working directory in a tree that an image shaped: never outside it."""

import os
from pathlib import Path

import pytest

from orlop.engine.rootfs import make_directories
from orlop.errors import Malformed


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "srv").mkdir(parents=True)
    return root


def test_missing_parents_are_made_for_everybody_to_pass(rootfs: Path) -> None:
    old = os.umask(0o077)
    try:
        make_directories(rootfs, "/srv/app/data")
    finally:
        os.umask(old)
    assert [oct((rootfs / "srv" / part).stat().st_mode & 0o7777) for part in ("app", "app/data")] == ["0o755"] * 2


def test_what_is_there_is_left_as_it_is(rootfs: Path) -> None:
    (rootfs / "srv").chmod(0o700)
    make_directories(rootfs, "/srv")
    make_directories(rootfs, "/")
    assert (rootfs / "srv").stat().st_mode & 0o7777 == 0o700


def test_an_absolute_link_leads_within_the_tree(rootfs: Path, tmp_path: Path) -> None:
    (rootfs / "link").symlink_to("/srv")
    make_directories(rootfs, "/link/app")
    assert (rootfs / "srv" / "app").is_dir()


@pytest.mark.parametrize("target", ["/outside", "../../outside", "../outside"])
def test_no_link_leads_out(rootfs: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    (rootfs / "evil").symlink_to(target.replace("/outside", str(tmp_path / "outside")) if target[0] == "/" else target)
    with pytest.raises((Malformed, OSError)):
        make_directories(rootfs, "/evil/app")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("path", ["/srv/file", "/srv/file/below"])
def test_a_file_in_the_way_is_told_of(rootfs: Path, path: str) -> None:
    (rootfs / "srv" / "file").write_text("x")
    with pytest.raises(Malformed, match=f"Cannot mkdir: {path} is not a directory"):
        make_directories(rootfs, path)


def test_a_loop_of_links_is_told_of(rootfs: Path) -> None:
    (rootfs / "a").symlink_to("b")
    (rootfs / "b").symlink_to("a")
    with pytest.raises(Malformed, match="loops"):
        make_directories(rootfs, "/a/x")
