"""Whatever tree there is: its copy is equal to it, and so are its mirror and what comes out of its archive, by our
unpacker and by GNU tar."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.stream import TarStream
from orlop.archive.unpack import Options, unpack
from orlop.archive.worker import WholeFile
from orlop.store.trees import copy_live_tree
from support.mirrors import mirroring
from support.trees import ACL, CAPABILITY, describe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, owners")

NAMES = st.binary(min_size=1, max_size=120).map(lambda raw: raw.replace(b"\0", b"0").replace(b"/", b"1"))
NAMES = NAMES.filter(lambda raw: raw not in (b".", b"..")) | st.sampled_from([b"a", b"b", b"c", b"d"])
KINDS = ("file", "file", "sparse", "directory", "directory", "symlink", "fifo", "device", "link")
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "name": NAMES,
            "kind": st.sampled_from(KINDS),
            "into": st.integers(0, 30),  # which of the directories there are
            "mode": st.integers(0, 0o7777),
            "uid": st.sampled_from([0, 1, 65534, 3_000_000, 2**32 - 2]),
            "mtime": st.integers(-(2**31) * 10**9, 2**33 * 10**9),
            "data": st.binary(max_size=2000) | st.binary(max_size=3).map(lambda some: some * 30_000),
            "number": st.integers(0, 2**19),
            "xattrs": st.dictionaries(
                st.sampled_from(["user.a", "user.b=c\n%3D", "trusted.x", "trusted.overlay.opaque"]),
                st.binary(max_size=60),
                max_size=2,
            ),
            "acl": st.booleans(),
        }
    ),
    max_size=12,
)  # fmt: skip


def grow(top: Path, entries: list[dict[str, Any]]) -> None:
    directories, files = [top], []
    made: list[tuple[Path, dict[str, Any]]] = []
    for entry in entries:
        path = directories[entry["into"] % len(directories)] / os.fsdecode(entry["name"])
        if os.path.lexists(path):
            continue
        match entry["kind"]:
            case "directory":
                path.mkdir()
                directories.append(path)
            case "file":
                path.write_bytes(entry["data"])
                files.append(path)
            case "sparse":
                with path.open("wb") as file:
                    file.seek(entry["number"] * 7)
                    file.write(entry["data"])
                    file.truncate(entry["number"] * 16 + len(entry["data"]))
                files.append(path)
            case "symlink":
                path.symlink_to(os.fsdecode(entry["data"][:300].replace(b"\0", b"x") or b"x"))
            case "fifo":
                os.mkfifo(path)
            case "device":
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(entry["number"] % 4095, entry["number"]))
            case "link":
                if not files:
                    continue
                os.link(files[entry["number"] % len(files)], path)
                continue
        made.append((path, entry))
    for path, entry in reversed(made):
        adorn(path, entry)


def adorn(path: Path, entry: dict[str, Any]) -> None:
    os.chown(path, entry["uid"], entry["uid"] // 2, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(entry["mode"])
    kind = stat.S_IFMT(path.lstat().st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        for key, value in entry["xattrs"].items():
            os.setxattr(path, key, value)
        if entry["acl"]:
            os.setxattr(path, "system.posix_acl_access", ACL)
            if kind == stat.S_IFDIR:
                os.setxattr(path, "system.posix_acl_default", ACL)
            elif entry["number"] % 2:
                os.setxattr(path, "security.capability", CAPABILITY)
    os.utime(path, ns=(entry["mtime"], entry["mtime"]), follow_symlinks=False)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def copied(source: Path, target: Path) -> None:
    with opened(source) as source_fd, opened(target) as target_fd:
        _, _, missed = copy_live_tree(source_fd, target_fd)
    assert missed.count == 0


def pack(source: Path, archive: Path) -> None:
    with opened(source) as fd, WholeFile(archive, "wb") as out:
        pack_tree(fd, out, ".", PackOptions(exact_times=True, cross_mounts=False, every_xattr=True))


def travelled(source: Path, target: Path) -> None:
    archive = target.with_name("archive")
    pack(source, archive)
    with opened(archive) as fd, opened(target) as target_fd, TarStream(fd) as stream:
        assert unpack(stream, target_fd, Options(exact=True)).lost_xattrs == set()


def travelled_with_gnu_tar(source: Path, target: Path) -> None:
    archive = target.with_name("archive")
    pack(source, archive)
    command = ["tar", "x", "-p", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", target, "-f", archive]
    subprocess.run(command, check=True, capture_output=True)


def mirrored(source: Path, target: Path) -> None:
    with mirroring(source, target) as mirror:
        assert mirror.bring().missed.count == 0
        mirror.verify()


@settings(max_examples=40, deadline=None, database=None)
@given(ENTRIES, ENTRIES)
def test_a_mirror_follows_a_tree_that_becomes_another(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory(prefix="orlop-", dir="/dev/shm") as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.mkdir()
        grow(source, first)
        with mirroring(source, target) as mirror:
            mirror.bring()
            mirror.verify()
            for number, path in enumerate(source.iterdir()):
                if number % 2:
                    path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
            grow(source, second)
            assert mirror.bring().unsettled == 0
            mirror.verify()
        assert describe(target) == describe(source)


@pytest.mark.parametrize(
    ("way", "examples"), [(mirrored, 40), (copied, 150), (travelled, 150), (travelled_with_gnu_tar, 40)]
)
def test_what_arrives_is_equal(way: Callable[[Path, Path], None], examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None)
    @given(ENTRIES)
    def hold(entries: list[dict[str, Any]]) -> None:
        with tempfile.TemporaryDirectory(prefix="orlop-", dir="/dev/shm") as folder:
            source, target = Path(folder, "source"), Path(folder, "target")
            source.mkdir()
            target.mkdir()
            grow(source, entries)
            os.utime(source, ns=(1, 1_600_000_000_000_000_007))
            way(source, target)
            here, there = describe(target), describe(source)
            if way is travelled_with_gnu_tar:
                without_times_before_1970(here, there)
            assert here == there

    hold()


def without_times_before_1970(*trees: dict[str, dict[str, Any]]) -> None:
    """GNU tar rounds parts of seconds there the other way."""
    for tree in trees:
        for facts in tree.values():
            facts["mtime"] = max(facts["mtime"], 0)
