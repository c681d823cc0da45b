"""Paths of `docker cp`, and how links are read inside a tree."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.engine.archive_paths import RequestedPath, open_resolved, parse_requested_path, resolve


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", RequestedPath("/", True, "/")),
        (".", RequestedPath("/", True, ".")),
        ("/.", RequestedPath("/", True, ".")),
        ("d", RequestedPath("/d", False, "d")),
        ("//d//", RequestedPath("/d", True, "d")),
        ("/d/.", RequestedPath("/d", True, ".")),
        ("/d/..", RequestedPath("/", True, "/")),
        ("/d/sub/../f", RequestedPath("/d/f", False, "f")),
        ("../../d", RequestedPath("/d", False, "d")),
        ("/d/x.", RequestedPath("/d/x.", False, "x.")),
    ],
)
def test_a_clients_path_is_read_as_docker_reads_it(path: str, expected: RequestedPath) -> None:
    assert parse_requested_path(path) == expected


@given(st.text("./ab"))
def test_a_cleaned_path_never_climbs(path: str) -> None:
    cleaned = parse_requested_path(path).cleaned
    assert cleaned.startswith("/")
    assert ".." not in cleaned.split("/")


@pytest.fixture
def resolved(tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/tool").touch()
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "up").symlink_to("../../../../usr")
    (tmp_path / "usr/here").symlink_to("bin/tool")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("/no/such/thing")

    def call(path: str, follow_last: bool = True) -> str:
        root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
        try:
            return resolve(root, path, follow_last)
        finally:
            os.close(root)

    return call


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bin/tool", "/usr/bin/tool"),
        ("/up/here", "/usr/bin/tool"),
        ("/bin/../x", "/usr/x"),
        ("/gone", "/no/such/thing"),
        ("/gone/below", "/no/such/thing/below"),
        ("/usr/bin/tool/below", "/usr/bin/tool/below"),
        ("/", "/"),
        ("/../..", "/"),
    ],
)
def test_links_are_read_within_the_tree(resolved: Callable[..., str], path: str, expected: str) -> None:
    assert resolved(path) == expected


def test_the_last_link_may_be_left_alone(resolved: Callable[..., str]) -> None:
    assert resolved("/bin", follow_last=False) == "/bin"
    assert resolved("/up/here", follow_last=False) == "/usr/here"


def test_a_loop_of_links_ends(resolved: Callable[..., str]) -> None:
    with pytest.raises(OSError, match="Too many levels"):
        resolved("/loop/x")


def test_a_link_can_be_opened_as_such(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    fd, path = open_resolved(root, "/link", os.O_PATH, follow_last=False)
    try:
        assert (os.readlink("", dir_fd=fd), path) == ("/etc/passwd", "/link")
    finally:
        os.close(fd)
        os.close(root)
