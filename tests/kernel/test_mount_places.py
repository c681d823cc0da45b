"""Mounts made for a container before it exists: what they show, and that taking them down touches nothing else."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.engine.mount_places import MountPlaces
from orlop.engine.mount_trees import MountTrees
from orlop.engine.subpaths import Subpaths
from orlop.errors import HostFailure, Malformed, NotFound, Unsupported
from orlop.kernel.mounts import (
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    bind,
    detach_privately,
    has_mounts_below,
    mount,
    mount_of,
    mounts_at_or_below,
    open_tree,
    set_propagation,
)
from orlop.model.container import Container, ContainerConfig, HostConfig
from orlop.model.mount import IdMapping, Mount, MountKind
from orlop.planning.bundles import Surroundings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")


class House:
    def __init__(self, home: Path) -> None:
        self.rootfs, self.source, self.directory = home / "rootfs", home / "source", home / "mounts"
        (self.rootfs / "etc").mkdir(parents=True)
        (self.rootfs / "etc/passwd").write_text("app:x:1000:1001::/:/bin/sh\n")
        (self.source / "below").mkdir(parents=True)
        self.places = MountPlaces(self.directory, MountTrees(self.open_image), str(home / "data"))

    def open_image(self, image_id: str) -> int:
        return open_tree(-100, str(self.source))

    def container(self, **mount_: object) -> Container:
        plain = Mount(MountKind.BIND, "/x", str(self.source), propagation="rprivate")
        mounts = (replace(plain, **mount_),)  # type: ignore[arg-type]
        return Container("c", "box", 0, "sha256:0", ContainerConfig(), HostConfig(), "l", mounts=mounts)

    def surroundings(self) -> Surroundings:
        sources = {"/x": self.source}
        return Surroundings(self.rootfs, self.rootfs, self.rootfs, sources, "box", 1000, 1001, (), "/", "")

    def left(self) -> list[str]:
        mounted = [entry.mount_point for entry in mounts_at_or_below(self.directory)]
        return mounted + sorted(path.name for path in self.directory.glob("*"))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    yield House(tmp_path)
    for entry in mounts_at_or_below(tmp_path):
        detach_privately(entry.mount_point)


def test_a_plain_mount_stays_a_path(house: House) -> None:
    for plain in ({}, {"read_only": True}, {"non_recursive": True}):
        with house.places.placed(house.container(**plain), house.surroundings()) as placed:
            assert placed.sources == {"/x": house.source}


def test_read_only_with_something_below_is_made_here_and_read_only_there_too(house: House) -> None:
    mount("tmpfs", house.source / "below", "tmpfs")
    (house.source / "below/file").touch()
    with house.places.placed(house.container(read_only=True), house.surroundings()) as placed:
        place = placed.sources["/x"]
        for path in (place / "new", place / "below/new"):
            with pytest.raises(OSError, match="Read-only"):
                path.touch()
        (house.source / "below/other").touch()
        assert (place / "below/other").exists()
    assert house.left() == [] and (house.source / "below/file").exists()


def test_what_is_mounted_below_a_shared_source_survives_taking_down(house: House) -> None:
    """A copy of a shared mount is its peer, and an unmount from one peer reaches the others."""
    bind(house.source, house.source)
    set_propagation(house.source, MS_SHARED)
    mount("tmpfs", house.source / "below", "tmpfs")
    set_propagation(house.source, MS_SHARED | MS_REC)
    (house.source / "below/file").touch()
    for words in ("rshared", "rslave", "rprivate"):
        container = house.container(propagation=words, read_only=True)
        with house.places.placed(container, house.surroundings()) as placed:
            assert (placed.sources["/x"] / "below/file").exists()
        assert (house.source / "below/file").exists(), words
    subpaths = Subpaths(house.directory.with_name("subpaths"))
    assert (subpaths.pin(house.source, "below", "a" * 64) / "file").exists()
    subpaths.unpin("a" * 64)
    assert (house.source / "below/file").exists()


def test_what_a_crash_left_goes_at_start(house: House) -> None:
    left_open = house.places.placed(house.container(id_mapping=IdMapping.MATCH_USER), house.surroundings())
    left_open.__enter__()  # and never left
    assert len(house.left()) == 2
    house.places.clear()
    house.places.clear()
    assert house.left() == [] and (house.source / "below").is_dir()


def test_a_failure_in_between_leaves_nothing(house: House) -> None:
    good = house.container(id_mapping=IdMapping.MATCH_USER)
    bad = replace(good.mounts[0], destination="/y", source="/proc")
    both = replace(good, mounts=(*good.mounts, bad))
    found = replace(house.surroundings(), sources={"/x": house.source, "/y": Path("/proc")})
    with pytest.raises(Unsupported, match="-o uid="), house.places.placed(both, found):
        raise AssertionError
    assert house.left() == []


@pytest.mark.parametrize(("user", "ids"), [("", (1000, 1001)), ("app", (1000, 1001)), ("7:8", (7, 8))])
def test_the_owner_is_shown_as_the_user(house: House, user: str, ids: tuple[int, int]) -> None:
    os.chown(house.source, 3000, 3001)
    container = house.container(id_mapping=IdMapping.MATCH_USER, id_mapping_user=user)
    with house.places.placed(container, house.surroundings()) as placed:
        place = placed.sources["/x"]
        (place / "of-root").touch()
        (place / "of-user").touch()
        os.chown(place / "of-user", *ids)
        assert (place.stat().st_uid, place.stat().st_gid) == ids
    details = [(house.source / name).stat() for name in ("of-root", "of-user")]
    assert [(found.st_uid, found.st_gid) for found in details] == [(0, 0), (3000, 3001)]


def test_many_mappings_at_once_and_more_than_are_kept(house: House) -> None:
    os.chown(house.source, 3000, 3000)
    before = len(os.listdir("/proc/self/fd"))

    def shown(uid: int) -> int:
        found = replace(house.surroundings(), uid=uid, gid=uid)
        with house.places.placed(house.container(id_mapping=IdMapping.MATCH_USER), found) as placed:
            return placed.sources["/x"].stat().st_uid

    users = [*range(1, 51), *range(1, 51)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shown, users)) == users
    assert house.left() == []
    assert len(os.listdir("/proc/self/fd")) <= before + 40, "what is kept has an end"


def test_a_file_is_mapped_by_its_own_owner(house: House) -> None:
    note = house.source / "note"
    note.touch()
    os.chown(note, 3000, 3000)
    container = house.container(id_mapping=IdMapping.MATCH_USER)
    with house.places.placed(container, replace(house.surroundings(), sources={"/x": note})) as placed:
        assert placed.sources["/x"].stat().st_uid == 1000
    assert house.left() == []


def test_ids_that_are_the_same_already_need_no_mapping(house: House) -> None:
    os.chown(house.source, 1000, 1001)
    container = house.container(id_mapping=IdMapping.MATCH_USER)
    with house.places.placed(container, house.surroundings()) as placed:
        assert placed.sources["/x"].stat().st_uid == 1000


def test_part_of_an_image(house: House) -> None:
    (house.source / "below/note").write_text("in")
    (house.source / "out").symlink_to("/etc")
    image = {"kind": MountKind.IMAGE, "image": "i", "image_id": "sha256:1", "read_only": True}
    for subpath, name in (("", "below/note"), ("below", "note"), ("below/../below/.", "note")):
        with house.places.placed(house.container(**image, subpath=subpath), house.surroundings()) as placed:
            assert (placed.sources["/x"] / name).read_text() == "in"
    for subpath, error in (("out", Malformed), ("missing", NotFound)):
        with pytest.raises(error), house.places.placed(house.container(**image, subpath=subpath), house.surroundings()):
            raise AssertionError
    assert house.left() == []


@pytest.mark.parametrize(
    ("word", "kind"), [("shared", "a shared mount"), ("rslave", "a shared or slave mount"), ("rprivate", "")]
)
def test_propagation_needs_a_source_that_passes_on(house: House, word: str, kind: str) -> None:
    bind(house.source, house.source)
    set_propagation(house.source, MS_PRIVATE)
    container = house.container(propagation=word)
    if kind:
        with pytest.raises(HostFailure) as refused, house.places.placed(container, house.surroundings()):
            raise AssertionError
        assert refused.value.why == f"path {house.source} is mounted on {house.source} but it is not {kind}"
    set_propagation(house.source, MS_SHARED)
    with house.places.placed(container, house.surroundings()) as placed:
        assert placed.mounts[0].propagation == word


def test_a_link_to_the_kernels_files_is_found_before_anything_is_mounted(house: House) -> None:
    (house.rootfs / "x").symlink_to("/proc/sys")
    with pytest.raises(Malformed, match="inside /proc"), house.places.placed(house.container(), house.surroundings()):
        raise AssertionError


def test_the_mount_that_a_path_is_in(tmp_path: Path) -> None:
    (tmp_path / "a b/c").mkdir(parents=True)
    assert not has_mounts_below(tmp_path)
    mount("tmpfs", tmp_path / "a b", "tmpfs")
    try:
        assert has_mounts_below(tmp_path) and not has_mounts_below(tmp_path / "a b")
        assert mount_of(tmp_path / "a b").mount_point == str(tmp_path / "a b")
        assert mount_of(tmp_path / "a bc").mount_point == mount_of(tmp_path).mount_point
    finally:
        detach_privately(tmp_path / "a b")
    detach_privately(tmp_path / "a b")
    detach_privately(tmp_path / "never there")
