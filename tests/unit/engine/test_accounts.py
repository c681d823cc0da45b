"""Users and groups of a container, from files that an image brought along."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from orlop.engine import accounts
from orlop.engine.accounts import Account, find_account
from orlop.errors import Malformed

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
postgres:x:101:103:PostgreSQL:/var/lib/postgresql:/bin/sh
1000:x:2000:2000::/odd:/bin/sh
nothome:x:7:8:::/bin/sh
broken:x:zero:0::/:/bin/sh
+nis
"""
GROUP = """\
root:x:0:
ssl-cert:x:104:postgres,nobody
postgres:x:103:
wheel:x:10:root
docker:x:999:
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


def find(rootfs: Path, user: str, group_add: Sequence[str] = ()) -> Account:
    fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        return find_account(fd, user, group_add)
    finally:
        os.close(fd)


def test_no_user_is_root_with_the_groups_of_root(rootfs: Path) -> None:
    assert find(rootfs, "") == Account(0, 0, (0, 10), "/root")


def test_a_name_brings_its_groups_and_home(rootfs: Path) -> None:
    assert find(rootfs, "postgres") == Account(101, 103, (103, 104), "/var/lib/postgresql")


def test_a_number_in_the_file_is_that_user(rootfs: Path) -> None:
    assert find(rootfs, "101") == Account(101, 103, (103, 104), "/var/lib/postgresql")


def test_an_unknown_number_stands_for_itself(rootfs: Path) -> None:
    assert find(rootfs, "4242") == Account(4242, 0, (0,), "/")


def test_a_name_made_of_digits_is_found_as_a_name(rootfs: Path) -> None:
    assert find(rootfs, "1000").uid == 2000


def test_an_explicit_group_replaces_all_memberships(rootfs: Path) -> None:
    assert find(rootfs, "postgres:docker") == Account(101, 999, (999,), "/var/lib/postgresql")
    assert find(rootfs, "postgres:5555").additional_gids == (5555,)


def test_a_user_without_home_lives_at_the_root(rootfs: Path) -> None:
    assert find(rootfs, "nothome").home == "/"


def test_added_groups_come_after_the_users_own(rootfs: Path) -> None:
    assert find(rootfs, "postgres", ["docker", "77", "104"]).additional_gids == (103, 104, 999, 77)


@pytest.mark.parametrize(
    ("user", "group_add", "text"),
    [
        ("foo", (), "unable to find user foo: no matching entries in passwd file"),
        ("broken", (), "unable to find user broken: no matching entries in passwd file"),
        ("root:foo", (), "unable to find group foo: no matching entries in group file"),
        ("root", ("bar",), "unable to find group bar: no matching entries in group file"),
        ("2147483648", (), "uids and gids must be in range 0-2147483647"),
        ("-1", (), "uids and gids must be in range 0-2147483647"),
        ("0:-1", (), "uids and gids must be in range 0-2147483647"),
        ("0:99999999999", (), "uids and gids must be in range 0-2147483647"),
    ],
)
def test_what_cannot_be_found_is_refused_in_dockers_words(
    rootfs: Path, user: str, group_add: tuple[str, ...], text: str
) -> None:
    with pytest.raises(Malformed) as caught:
        find(rootfs, user, group_add)
    assert caught.value.message == text


def test_an_image_without_files_knows_numbers_only(tmp_path: Path) -> None:
    assert find(tmp_path, "") == Account(0, 0, (0,), "/")
    assert find(tmp_path, "5:6") == Account(5, 6, (6,), "/")
    with pytest.raises(Malformed, match="unable to find user root"):
        find(tmp_path, "root")


def test_a_link_resolves_within_the_container(rootfs: Path) -> None:
    (rootfs / "etc/passwd").rename(rootfs / "passwd")
    (rootfs / "etc/passwd").symlink_to("/passwd")
    assert find(rootfs, "postgres").uid == 101


def test_a_link_to_the_host_finds_nothing(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("host") / "passwd"
    outside.write_text("spy:x:66:66::/:/bin/sh\n")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to(outside)
    with pytest.raises(Malformed, match="unable to find user spy"):
        find(rootfs, "spy")


def test_a_fifo_is_refused_at_once(rootfs: Path) -> None:
    (rootfs / "etc/passwd").unlink()
    os.mkfifo(rootfs / "etc/passwd")
    with pytest.raises(Malformed, match="is not a regular file"):
        find(rootfs, "postgres")


def test_a_giant_file_is_refused(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAXIMUM_FILE_BYTES", 64)
    with pytest.raises(Malformed, match="is larger than"):
        find(rootfs, "postgres")


@pytest.mark.parametrize("between", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_newline_ends_a_line(rootfs: Path, between: str) -> None:
    (rootfs / "etc/passwd").write_text(f"app:x:1000:1000:a comment{between}hidden:x:0:0::/:/bin/sh\n", newline="")
    assert find(rootfs, "app").uid == 1000
    with pytest.raises(Malformed):
        find(rootfs, "hidden")
