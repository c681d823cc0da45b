"""Access control lists in the text of GNU tar and star become what the kernel keeps."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.archive.acl import parse_acl

ANYBODY = 0xFFFFFFFF


def entries(value: bytes) -> list[tuple[int, int, int]]:
    assert value[:4] == b"\2\0\0\0"
    return list(struct.iter_unpack("<HHI", value[4:]))


@pytest.mark.parametrize(
    "text",
    [
        "user::rwx,user:1000:r--,group::r-x,mask::r-x,other::---",
        "user::rwx\nuser:jane:r--:1000\ngroup::r-x\nmask::r-x\nother::---\n",
        "u::rwx,u:1000:r--\t#effective:r--,g::r-x,m::r-x,o::",
        "other:---,mask:r-x,group::r-x,user:1000:r,user::rwx",
    ],
)
def test_every_spelling_means_the_same(text: str) -> None:
    assert entries(parse_acl(text)) == [
        (1, 7, ANYBODY), (2, 4, 1000), (4, 5, ANYBODY), (0x10, 5, ANYBODY), (0x20, 0, ANYBODY),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user",
        "user:jane:rwx",
        "user:jane:rwx:",
        "nobody::rwx",
        "user::rwz",
        "mask:3:rwx",
        f"user:{ANYBODY}:r",
        "a:b:c:d:e",
    ],
)
def test_what_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"access control|permissions|nobody"):
        parse_acl(text)


@given(st.text())
def test_any_text_is_a_list_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert entries(parse_acl(text))
