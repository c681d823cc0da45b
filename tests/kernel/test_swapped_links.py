"""A directory is swapped for a symbolic link to the outside, and back, while something is done with it: nothing is
read, counted, copied, changed or deleted there. For deleting and `docker cp` see test_volumes, test_archives."""

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.reader import TarReader
from orlop.archive.unpack import Options, unpack
from orlop.drivers.volumes.local_usage import measure
from orlop.engine.tree_usage import TreeWalk
from orlop.errors import OrlopError
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.store.trees import copy_live_tree, count_entries
from support.swapping import rounds, swapping
from support.volume_house import VolumeHouse, mount_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SECRET = b"the host's own " * 1000
USE, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """What must never be reached; its state is looked at again at the end."""
    place = tmp_path / "outside"
    (place / "sub").mkdir(parents=True)
    for name in ("key", "sub/key"):
        (place / name).write_bytes(SECRET)
    before = portrait(place)
    yield place
    assert portrait(place) == before


def portrait(place: Path) -> list[tuple[object, ...]]:
    found = []
    for path in [place, *sorted(place.rglob("*"))]:
        details = path.lstat()
        owner = (details.st_mode, details.st_uid, details.st_gid, details.st_mtime_ns)
        found.append((str(path), *owner, path.read_bytes() if path.is_file() else b""))
    return found


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    place = tmp_path / "inside"
    (place / "d" / "sub").mkdir(parents=True)
    (place / "d" / "key").write_text("mine")
    (place / "d" / "sub" / "key").write_text("mine")
    return place


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumeHouse]:
    house = VolumeHouse(tmp_path / "house")
    yield house
    house.stop()
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@pytest.mark.parametrize("has_mounts", [False, True])
def test_measuring_counts_nothing_outside(inside: Path, outside: Path, has_mounts: bool) -> None:
    fd = open_directory(inside)
    with swapping(inside / "d", outside) as swapper:
        for _ in rounds(swapper):
            found = measure(fd, has_mounts=has_mounts)
            assert found is not None and found.size_bytes < len(SECRET)
    os.close(fd)


def test_a_walk_for_du_counts_nothing_outside(inside: Path, outside: Path) -> None:
    fd = open_directory(inside)
    with swapping(inside / "d", outside) as swapper:
        for _ in rounds(swapper):
            TreeWalk(fd, 2).run()
            walk = TreeWalk(fd, 2)
            walk.run()
            assert walk.so_far.size_bytes < len(SECRET)
    os.close(fd)


def test_packing_takes_nothing_from_outside(inside: Path, outside: Path) -> None:
    fd = open_directory(inside)
    with swapping(inside / "d", outside) as swapper:
        for _ in rounds(swapper):
            packed = io.BytesIO()
            with suppress(OSError, OrlopError):
                pack_tree(fd, packed, ".", PackOptions(exact_times=True, cross_mounts=False))
            assert SECRET[:15] not in packed.getvalue()
    os.close(fd)


def test_copying_takes_nothing_from_outside(inside: Path, outside: Path, tmp_path: Path) -> None:
    fd = open_directory(inside)
    with swapping(inside / "d", outside) as swapper:
        for number in rounds(swapper):
            target = tmp_path / f"copy{number % 50}"
            target.mkdir(exist_ok=True)
            target_fd = open_directory(target)
            with suppress(OSError, OrlopError):
                copy_live_tree(fd, target_fd)
            os.close(target_fd)
    for path in tmp_path.glob("copy*/**/*"):
        assert path.is_symlink() or path.is_dir() or path.read_bytes() != SECRET
    os.close(fd)


def test_counting_meets_what_vanishes_and_changes_with_patience(inside: Path, outside: Path) -> None:
    fd = open_directory(inside)
    with swapping(inside / "d", outside) as swapper:
        for _ in rounds(swapper, least=300):
            assert count_entries(fd, 1000)[1] < len(SECRET)
    os.close(fd)


def test_unpacking_puts_nothing_outside(inside: Path, outside: Path, tmp_path: Path) -> None:
    archive = tmp_path / "upload.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("d/new", "d/sub/new", "d/key"):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = 7, 0o666, 4242
            tar.addfile(member, io.BytesIO(b"theirs!"))
    fd = open_directory(inside)
    with swapping(inside / "d", outside) as swapper:
        for _ in rounds(swapper):
            with TarReader(archive) as reader, suppress(OSError, OrlopError):
                unpack(reader, fd, Options())
    os.close(fd)
    assert not (outside / "new").exists()


def test_copy_up_takes_nothing_from_outside_the_image(house: VolumeHouse, outside: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc" / "sub").mkdir(parents=True)
    (image / "etc" / "sub" / "key").write_text("the image's")
    with swapping(image / "etc", outside) as swapper:
        for number in rounds(swapper, least=40):
            name = f"volume{number}"
            house.volumes.create(name, "", None, None)
            with suppress(OSError, OrlopError):
                house.volumes.populate(name, image, "/etc/sub")
            for path in house.data(name).rglob("*"):
                assert path.is_dir() or path.read_bytes() != SECRET


def test_no_volume_is_attached_whose_data_is_a_link(house: VolumeHouse, outside: Path) -> None:
    """_data itself, which only root could swap: whoever comes gets the volume's own directory, or an error."""
    house.volumes.create("data", "", None, None)
    (house.data("data") / "mine").touch()
    mount, seen = mount_of(house, "data"), 0
    with swapping(house.data("data"), outside) as swapper:
        for number in rounds(swapper, swaps=2000):
            if number >= 60 and seen and swapper.swaps >= 200:
                break
            with suppress(OSError, OrlopError), house.volumes.access.open("data", only_looks=True) as opened:
                assert os.listdir(opened.fd) == ["mine"]
                seen += 1
            with suppress(OSError, OrlopError):
                house.volumes.attach(mount, USE)
                house.volumes.detach(mount, USE)
            with suppress(OSError, OrlopError):
                assert house.driver.usage_bytes("data") < len(SECRET)
            with suppress(OSError, OrlopError):
                house.driver.is_empty("data")
    assert house.data("data").joinpath("mine").exists()
    assert seen, "it was never there to be opened"


def test_removing_a_volume_whose_data_is_swapped_takes_the_link_at_most(house: VolumeHouse, outside: Path) -> None:
    for number in range(12):
        name = f"volume{number}"
        house.volumes.create(name, "", None, None)
        (house.data(name) / "mine").touch()
        with swapping(house.data(name), outside) as swapper:
            while swapper.swaps < 5:
                pass
            with suppress(OSError, OrlopError):
                house.volumes.remove(name)
            for retired in house.volumes.list_retired():
                with suppress(OSError, OrlopError):
                    house.volumes.purge(retired.id)


@pytest.mark.parametrize("file", ["orlop.json", "opts.json", "retired.json", "change.json", "mounted", "uses"])
def test_a_record_that_is_a_link_is_not_followed(house: VolumeHouse, outside: Path, file: str) -> None:
    house.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs"}, {"a": "b"})
    house.volumes.create("other", "", None, None)
    place = house.root / "volumes" / "data" / file
    place.unlink(missing_ok=True)
    place.symlink_to(outside / ("key" if file != "uses" else "sub"))
    house.restart()
    assert "other" in house.names()
    with suppress(OrlopError, OSError):
        house.volumes.attach(mount_of(house, "data"), OTHER)
        house.volumes.detach(mount_of(house, "data"), OTHER)
    house.volumes.attach(mount_of(house, "other"), OTHER)
    house.volumes.detach(mount_of(house, "other"), OTHER)
    with suppress(OrlopError, OSError):
        house.volumes.update("data", {"c": "d"}, None)
    with suppress(OrlopError, OSError):
        house.volumes.rename("data", "named", True)
    for name in ("data", "named"):
        with suppress(OrlopError, OSError):
            house.volumes.remove(name)
    for retired in house.volumes.list_retired():
        restored = house.volumes.restore(retired.id)
        house.volumes.remove(restored.name)
        house.volumes.purge(retired.id)
