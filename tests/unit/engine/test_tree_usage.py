"""What takes the room, directory by directory."""

import os
from pathlib import Path

import pytest

from orlop.drivers.volumes.local_usage import measure
from orlop.engine import tree_usage
from orlop.engine.tree_usage import TreeUsage, TreeWalk
from support.leaks import descriptors


def walk(top: Path, depth: int) -> list[TreeUsage]:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        rows = TreeWalk(fd, depth).run()
    finally:
        os.close(fd)
    assert rows is not None
    return rows


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "logs" / "old").mkdir(parents=True)
    (top / "logs" / "old" / "a").write_bytes(b"x" * 300_000)
    (top / "logs" / "b").write_bytes(b"x" * 20_000)
    (top / "small").write_bytes(b"x")
    os.link(top / "logs" / "b", top / "twin")
    (top / "out").symlink_to("/")
    with (top / "sparse").open("wb") as file:
        file.truncate(50_000_000)
    return top


def test_the_whole_comes_first_and_counts_hard_links_once(tree: Path) -> None:
    whole = walk(tree, 0)
    assert len(whole) == 1
    assert whole[0].size_bytes == 300_000 + 20_000 + 1 + 50_000_000 + len("/")
    assert whole[0].disk_bytes < 1_000_000
    assert whole[0].entries == 8


def test_the_whole_is_what_the_driver_counts(tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY)
    counted = measure(fd)
    os.close(fd)
    assert counted
    (whole,) = walk(tree, 0)
    assert (whole.size_bytes, whole.disk_bytes) == (counted.size_bytes, counted.disk_bytes)
    assert (whole.entries, whole.last_write_ns) == (counted.entries, counted.last_write_ns)


def test_below_it_the_biggest_on_disk_is_first(tree: Path) -> None:
    rows = {row.path: row for row in walk(tree, 1)[1:]}
    assert next(iter(rows)) == "logs"
    assert rows.keys() == {"logs", "small", "twin", "out", "sparse"}
    assert (rows["logs"].is_directory, rows["logs"].entries) == (True, 3)
    assert rows["logs"].size_bytes + rows["twin"].size_bytes == 320_000  # the link counts where it is seen first


def test_each_level_asked_for_has_rows_of_its_own(tree: Path) -> None:
    paths = {row.path for row in walk(tree, 2)}
    assert {"", "logs", "logs/old", "logs/b"} <= paths
    assert "logs/old/a" not in paths


def test_only_so_many_rows_are_kept_the_biggest_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_usage, "MOST_ROWS", 3)
    for number in range(10):
        (tmp_path / f"f{number}").write_bytes(b"x" * 8192 * number)
    fd = os.open(tmp_path, os.O_RDONLY)
    found = TreeWalk(fd, 1)
    rows = found.run()
    os.close(fd)
    assert rows
    assert [row.path for row in rows] == ["", "f9", "f8", "f7"]
    assert (rows[0].entries, found.left_out) == (10, 7)


def test_a_tree_too_deep_is_refused_before_descriptors_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_usage, "DEEPEST", 5)
    (tmp_path / "a/b/c/d/e/f/g").mkdir(parents=True)
    before = descriptors()
    with pytest.raises(OSError, match="nested more than 5 deep"):
        walk(tmp_path, 1)
    assert descriptors() <= before


def test_a_walk_that_is_stopped_has_no_result(tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY)
    assert TreeWalk(fd, 1, stop=lambda: True).run() is None
    os.close(fd)
