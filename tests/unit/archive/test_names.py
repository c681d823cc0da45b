"""What names in archives mean, and which are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.archive.names import Whiteout, WhiteoutKind, parse_whiteout, split_link_target, split_name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b", ["a", "b"]),
        ("./a//b/", ["a", "b"]),
        ("/etc/passwd", ["etc", "passwd"]),
        (".", []),
        ("./", []),
        ("/", []),
        ("...", ["..."]),
        ("a/..b", ["a", "..b"]),
    ],
)
def test_names_are_paths_beneath_the_root(name: str, parts: list[str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize("name", ["..", "../a", "a/..", "a/../b", "/../a", "./../a", "a" * 5000])
def test_names_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"leaves the root|too long"):
        split_name(name)


@pytest.mark.parametrize("name", ["..", "../a", "/", ".", ""])
def test_hard_links_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="hard link to"):
        split_link_target(name)


@given(st.text("ab./\udcff", max_size=30))
def test_no_name_leads_out(name: str) -> None:
    try:
        parts = split_name(name)
    except ValueError:
        return
    assert not {"", ".", ".."} & set(parts)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a/b", None),
        ("a/.whx", None),
        ("a/.wh.b", Whiteout(WhiteoutKind.HIDE, "b")),
        (".wh.b", Whiteout(WhiteoutKind.HIDE, "b")),
        (".wh....", Whiteout(WhiteoutKind.HIDE, "...")),
        ("a/.wh..wh..opq", Whiteout(WhiteoutKind.OPAQUE)),
        (".wh..wh.aufs", Whiteout(WhiteoutKind.METADATA)),
        (".wh..wh.plnk/1.2", Whiteout(WhiteoutKind.METADATA)),
        (".wh..wh.plnk/.wh.x", Whiteout(WhiteoutKind.METADATA)),
    ],
)
def test_whiteouts_are_told_apart(path: str, found: Whiteout | None) -> None:
    assert parse_whiteout(path.split("/")) == found


@pytest.mark.parametrize(
    "path", [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "a/.wh...", ".wh.a/b", ".wh..wh..opq/b"]
)
def test_whiteouts_that_cannot_be_meant_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="whiteout"):
        parse_whiteout(path.split("/"))
