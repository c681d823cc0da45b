"""Unpacking: whatever the members, in whatever order, nothing lands outside, and the tar can be made again."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.archive import filling
from orlop.archive.layer_tar import apply_layer
from orlop.archive.reader import TarReader
from orlop.archive.recipe import rebuild
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Options, Whiteouts, unpack
from orlop.errors import Conflict, HostFailure, Malformed
from orlop.store.files import remove_tree
from orlop.testing.archives import TestMember, directory, file, hard_link, hostile_layers, make_tar, symlink
from support.leaks import descriptors

OWN = {"uid": os.getuid(), "gid": os.getgid()}
KINDS = [tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
parts = st.sampled_from(["a", "a", "b", "b", "c", "c", ".wh.a", ".wh.b", ".wh..wh..opq", "."])
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
outside_paths = st.sampled_from(["..", "a/../../b", "/../a", "../outside/x"])


@st.composite
def members(draw: st.DrawFn) -> TestMember:
    kind = draw(st.sampled_from(KINDS))
    name = draw(outside_paths) if draw(st.integers(0, 40)) == 0 else draw(paths)
    data = draw(st.binary(min_size=0, max_size=700)) if kind == tarfile.REGTYPE else b""
    link = draw(paths | st.sampled_from(["/", "/a", "../..", "/tmp"])) if kind == tarfile.SYMTYPE else ""
    link = draw(paths) if kind == tarfile.LNKTYPE else link
    return TestMember(name, data, kind, draw(st.sampled_from([0o644, 0o755, 0o4711])), link=link, **OWN)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), max_size=12))
def test_any_members_in_any_order_stay_inside_and_are_made_again(tmp_path: Path, chosen: list[TestMember]) -> None:
    check_members(tmp_path, chosen)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), max_size=12))
def test_the_same_holds_when_files_are_filled_ahead(tmp_path: Path, chosen: list[TestMember]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "KERNEL_COPY_BYTES", 1)
        patch.setattr(filling, "_FILES_AHEAD", 2)
        patch.setattr(filling, "_MEMBERS_AHEAD", 4)
        check_members(tmp_path, chosen)


def check_members(tmp_path: Path, chosen: list[TestMember]) -> None:
    tar = make_tar(*chosen)
    (tmp_path / "t").write_bytes(tar)
    outside, target = tmp_path / "outside", tmp_path / "outside" / "target"
    remove_tree(outside)
    target.mkdir(parents=True)
    before = descriptors()
    try:
        apply_layer(ArchiveSource(tmp_path / "t"), target, tmp_path / "r", tmp_path / "s", Whiteouts.APPLY)
    except Malformed:
        pass
    else:
        out = io.BytesIO()
        rebuild(tmp_path / "r", target, out)
        assert out.getvalue() == tar
    assert os.listdir(outside) == ["target"]
    assert descriptors() <= before


def unpacked(tmp_path: Path, tar: bytes, target: Path, options: Options | None = None) -> None:
    (tmp_path / "t").write_bytes(tar)
    fd = os.open(target, os.O_RDONLY)
    try:
        with TarReader(tmp_path / "t") as archive:
            unpack(archive, fd, options or Options())
    finally:
        os.close(fd)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a container's tree may look like to `docker cp`."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    top = tmp_path / "top"
    (top / "data/sub").mkdir(parents=True)
    (top / "data/file").write_text("old")
    (top / "out").symlink_to(tmp_path / "secret")
    (top / "up").symlink_to("../secret")
    (top / "inside").symlink_to("/data")
    return top


def own(name: str, data: bytes = b"new") -> TestMember:
    return file(name, data, **OWN)


@pytest.mark.parametrize("name", ["out/file", "up/file", "out/new", "up/new"])
def test_links_of_the_tree_do_not_lead_out(tmp_path: Path, tree: Path, name: str) -> None:
    with pytest.raises(Malformed):
        unpacked(tmp_path, make_tar(own(name)), tree)
    assert [(path.name, path.read_text()) for path in (tmp_path / "secret").iterdir()] == [("file", "secret")]


def test_links_of_the_tree_lead_within_it(tmp_path: Path, tree: Path) -> None:
    unpacked(tmp_path, make_tar(own("inside/file"), own("inside/sub/deep/x")), tree)
    assert (tree / "data/file").read_text() == "new"
    assert (tree / "data/sub/deep/x").read_text() == "new"


def test_whiteouts_are_plain_names_to_docker_cp(tmp_path: Path, tree: Path) -> None:
    unpacked(tmp_path, make_tar(own("data/.wh.file")), tree)
    assert sorted(os.listdir(tree / "data")) == [".wh.file", "file", "sub"]


def test_kinds_are_kept_when_asked(tmp_path: Path, tree: Path) -> None:
    for member in (own("data"), directory("data/file", **OWN), symlink("data/sub", "x")):
        with pytest.raises(Conflict, match="cannot overwrite"):
            unpacked(tmp_path, make_tar(member), tree, Options(keep_kinds=True))
    assert (tree / "data/file").read_text() == "old"
    assert (tree / "data/sub").is_dir()


def test_kinds_are_replaced_otherwise(tmp_path: Path, tree: Path) -> None:
    unpacked(tmp_path, make_tar(own("data/sub"), directory("data/file", **OWN)), tree)
    assert (tree / "data/sub").read_text() == "new"
    assert (tree / "data/file").is_dir()


def test_a_base_directory_takes_the_archive(tmp_path: Path, tree: Path) -> None:
    unpacked(tmp_path, make_tar(own("x"), hard_link("y", "x")), tree, Options(base=("inside",)))
    assert (tree / "data/x").stat().st_ino == (tree / "data/y").stat().st_ino


def test_directories_get_their_times_last(tmp_path: Path, tree: Path) -> None:
    tar = make_tar(directory("d", mtime=1_000_000_000, **OWN), own("d/x"), own("d/y/z"))
    unpacked(tmp_path, tar, tree)
    assert (tree / "d").stat().st_mtime == 1_000_000_000


def test_a_full_or_read_only_disk_is_the_hosts_failure(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HostFailure, match="unpacking 'big': No space left on device"):
        unpacked(tmp_path, make_tar(own("big")), tree)


def test_more_large_whiteouts_than_files_may_be_ahead_do_not_hang(tmp_path: Path) -> None:
    chosen = [own(f".wh.{number}", b"x" * (1 << 20)) for number in range(70)]
    target = tmp_path / "target"
    target.mkdir()
    unpacked(tmp_path, make_tar(*chosen, own("last", b"y" * (1 << 20))), target, Options(Whiteouts.APPLY))
    assert os.listdir(target) == ["last"]


def test_a_disk_that_fills_up_ahead_is_the_hosts_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    before = descriptors()
    chosen = [own(f"f{number}", b"x" * (1 << 20)) for number in range(4)]
    with pytest.raises(HostFailure, match="unpacking 'f0': No space left on device"):
        unpacked(tmp_path, make_tar(*chosen), tmp_path, Options(Whiteouts.APPLY))
    assert descriptors() <= before


@pytest.mark.parametrize("why", hostile_layers())
def test_hostile_archives_are_refused_by_every_kind_of_unpacking(tmp_path: Path, why: str) -> None:
    if os.getuid() and why.startswith("a device"):
        return
    for number, whiteouts in enumerate((Whiteouts.APPLY, Whiteouts.IGNORE)):
        if whiteouts is Whiteouts.IGNORE and "whiteout" in why:
            continue
        target = tmp_path / str(number)
        target.mkdir()
        with pytest.raises(Malformed):
            unpacked(tmp_path, hostile_layers()[why], target, Options(whiteouts, owner=(os.getuid(), os.getgid())))
    assert {path.name for path in tmp_path.iterdir()} <= {"t", "0", "1"}
