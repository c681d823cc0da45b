"""Copies of volumes on real file systems: everything comes through, all at once, or nothing does."""

import io
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from orlop.archive.pack import PackOptions, pack_tree
from orlop.engine.volume_copies import Changes, NewVolume
from orlop.errors import Conflict, HostFailure, Malformed, NoSuchVolume, Unsupported
from orlop.kernel.mounts import MNT_DETACH, MS_BIND, mount, mounts_at_or_below, unmount
from orlop.model.volume import ANONYMOUS_LABEL
from orlop.store import trees
from support.disks import mounted_disk
from support.trees import describe, write_everything, write_socket
from support.volume_world import VolumeWorld

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, owners, mounts")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VolumeWorld]:
    world = VolumeWorld(tmp_path)
    yield world
    assert world.leftovers() == []
    assert mounts_at_or_below(world.disk / "volumes") == []
    world.stop()


def test_a_copy_is_equal_to_its_source(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, {"of": "web", ANONYMOUS_LABEL: ""})
    write_everything(world.data("data"))
    write_socket(world.data("data") / "socket")
    result = world.volumes.copies.copy("data", "again")
    assert describe(world.data("again")) == describe(world.data("data"))
    assert result.missed.count == 0 and result.entries == len(describe(world.data("data"))) - 1
    assert result.volume.labels == {"of": "web"} and result.volume.options is None
    assert world.volumes.get("again") == result.volume and result.volume.id != world.volumes.get("data").id
    assert Path(result.volume.mountpoint) == world.data("again")


def test_many_files_are_copied_by_a_process_of_their_own_to_the_same_result(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    write_everything(world.data("data"))
    for number in range(1200):
        (world.data("data") / f"file{number:05}").write_bytes(b"%d" % number * 40)
    seen: list[tuple[int, int]] = []
    result = world.volumes.copies.copy("data", "again", progress=lambda entries, size: seen.append((entries, size)))
    assert describe(world.data("again")) == describe(world.data("data"))
    assert seen[-1] == (result.entries, result.size_bytes) and len(seen) > 3 and seen == sorted(seen)


def test_what_ends_it_leaves_nothing(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    for number in range(1200):
        (world.data("data") / f"file{number:05}").write_bytes(b"x")

    def gone(entries: int, size: int) -> None:
        raise ConnectionResetError("the client has gone")

    with pytest.raises(ConnectionResetError):
        world.volumes.copies.copy("data", "again", progress=gone)
    assert world.names() == ["data"]


def test_a_copy_survives_a_restart(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, {"a": "b"})
    (world.data("data") / "note").write_text("kept")
    made = world.volumes.copies.copy("data", "again").volume
    world.stop()
    world.start()
    assert world.volumes.get("again") == made
    assert (world.data("again") / "note").read_text() == "kept"


def test_labels_can_be_changed(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, {"keep": "1", "change": "1", "drop": "1"})
    changes = Changes(labels={"change": "2", "new": "3"}, without_labels=("drop",))
    assert world.volumes.copies.copy("data", "again", changes).volume.labels == {"keep": "1", "change": "2", "new": "3"}


def test_the_copy_of_a_mounted_volume_has_a_place_of_its_own(world: VolumeWorld, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "note").write_text("there")
    options = {"type": "none", "device": str(elsewhere), "o": "bind,ro"}
    world.volumes.create("data", "", options, {"a": "b"})
    result = world.volumes.copies.copy("data", "again")
    assert sorted(result.left_out) == ["device", "o", "type"] and not result.volume.options
    assert (world.data("again") / "note").read_text() == "there"
    (world.data("again") / "note").write_text("here")
    assert (elsewhere / "note").read_text() == "there"
    assert mounts_at_or_below(world.data("data")) == []


def test_a_volume_in_memory_is_copied_while_it_is_in_use(world: VolumeWorld) -> None:
    world.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs"}, None)
    use = "ab" * 32
    (world.driver.attach("data", use) / "note").write_text("in memory")
    world.volumes.copies.copy("data", "again")
    assert (world.data("data") / "note").read_text() == "in memory"
    world.driver.detach("data", use)
    assert (world.data("again") / "note").read_text() == "in memory"


def test_options_that_name_storage_elsewhere_are_refused(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    with pytest.raises(Unsupported, match="storage"):
        world.volumes.copies.copy("data", "again", Changes(options={"type": "tmpfs", "device": "tmpfs"}))
    with pytest.raises(Malformed):
        world.volumes.copies.copy("data", "again", Changes(options={"nonsense": "1"}))
    assert world.names() == ["data"]


def test_a_name_that_is_taken_is_refused(world: VolumeWorld) -> None:
    for name in ("data", "again"):
        world.volumes.create(name, "", None, None)
    (world.data("again") / "note").write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        world.volumes.copies.copy("data", "again")
    with pytest.raises(Malformed):
        world.volumes.copies.copy("data", "../out")
    with pytest.raises(NoSuchVolume):
        world.volumes.copies.copy("none", "more")
    assert (world.data("again") / "note").read_text() == "mine"


def test_a_name_that_is_taken_meanwhile_stays_with_who_took_it(world: VolumeWorld) -> None:
    def fill(fd: int) -> None:
        os.mkdir("mine", dir_fd=fd)
        world.volumes.create("new", "", None, {"by": "another"})

    with pytest.raises(Conflict, match="exists already"):
        world.volumes.copies.make(NewVolume("new"), fill)
    assert world.volumes.get("new").labels == {"by": "another"}
    assert list(world.data("new").iterdir()) == []


def test_what_is_mounted_below_is_left_out_and_told(world: VolumeWorld, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share/big").write_text("not ours")
    world.volumes.create("data", "", None, None)
    place = world.data("data") / "share"
    place.mkdir()
    (world.data("data") / "zz").write_text("ours")
    mount(str(tmp_path / "share"), place, "", MS_BIND)
    try:
        result = world.volumes.copies.copy("data", "again")
    finally:
        unmount(place, MNT_DETACH)
    assert result.missed.entries == [("share", "something is mounted there, which is not copied")]
    assert sorted(path.name for path in world.data("again").rglob("*")) == ["share", "zz"]


def test_files_that_vanish_or_change_are_told(world: VolumeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.volumes.create("data", "", None, None)
    top = world.data("data")
    for name in ("stays", "vanishes", "turns", "grows"):
        (top / name).write_text("x")
    (top / "folder").mkdir()
    (top / "folder/file").write_text("x")
    listed = os.listdir
    copy_entry = trees.TreeCopy._copy_entry
    done: list[str] = []

    def meddle(self: trees.TreeCopy, level: trees.Level, entry: "os.DirEntry[str]") -> None:
        if not done:
            done.append("once")
            (top / "vanishes").unlink()
            (top / "turns").unlink()
            (top / "turns").mkdir()
            (top / "folder/file").unlink()
            (top / "folder").rmdir()
        copy_entry(self, level, entry)

    copy_bytes = trees.TreeCopy._copy_bytes

    def grow(self: trees.TreeCopy, source: int, target: int, details: os.stat_result) -> None:
        copy_bytes(self, source, target, details)
        if Path(f"/proc/self/fd/{source}").readlink().name == "grows":
            (top / "grows").write_text("more")

    monkeypatch.setattr(trees.TreeCopy, "_copy_entry", meddle)
    monkeypatch.setattr(trees.TreeCopy, "_copy_bytes", grow)
    result = world.volumes.copies.copy("data", "again")
    assert {path for path, _ in result.missed.entries} >= {"vanishes", "grows"}
    assert (world.data("again") / "stays").read_text() == "x"
    assert not (world.data("again") / "vanishes").exists()
    assert listed(world.data("again"))


def test_a_file_of_a_gigabyte_that_takes_no_space_takes_none_after(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    with (world.data("data") / "huge").open("wb") as file:
        file.seek(500 << 20)
        file.write(b"middle")
        file.truncate(1 << 30)
    world.volumes.copies.copy("data", "again")
    copied = (world.data("again") / "huge").stat()
    assert copied.st_size == 1 << 30 and copied.st_blocks * 512 < 1 << 20


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "journal").mkdir()
    with mounted_disk(tmp_path / "disk", 16 << 20) as disk:
        world = VolumeWorld(tmp_path / "journal", disk)
        world.volumes.create("data", "", None, None)
        (world.data("data") / "big").write_bytes(b"x" * (9 << 20))
        with pytest.raises(HostFailure, match=r"No space left on device.*Free some space"):
            world.volumes.copies.copy("data", "again")
        assert world.names() == ["data"] and world.leftovers() == []
        world.stop()


def test_what_a_crash_leaves_is_thrown_away_at_the_next_start(
    world: VolumeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.volumes.create("data", "", None, None)
    monkeypatch.setattr(world.volumes.copies, "_throw_away", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        world.volumes.copies.make(NewVolume("new"), interrupt)
    assert world.leftovers() != []
    world.stop()
    world.start()
    assert world.leftovers() == [] and world.names() == ["data"]


def interrupt(fd: int) -> None:
    os.mkdir("half", dir_fd=fd)
    raise KeyboardInterrupt


def test_a_use_that_a_crash_left_is_let_go(world: VolumeWorld) -> None:
    world.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs"}, None)
    opened = world.volumes.access.open("data")
    opened.__enter__()
    assert mounts_at_or_below(world.data("data"))
    world.stop()
    world.start()
    assert mounts_at_or_below(world.data("data")) == []


def test_work_on_a_mounted_volume_ends_with_the_last_of_it_also_under_another_name(world: VolumeWorld) -> None:
    world.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs"}, None)
    with world.volumes.access.open("data") as first:
        (world.data("data") / "note").write_text("here")
        with world.volumes.access.open("data") as second:
            assert os.listdir(second.fd) == ["note"]
        assert os.listdir(first.fd) == ["note"] and mounts_at_or_below(world.data("data"))
        world.volumes.rename("data", "other")
        with world.volumes.access.open("data") as third:
            assert third.volume.name == "other" and os.listdir(third.fd) == ["note"]
    assert mounts_at_or_below(world.data("other")) == []
    result = world.volumes.copies.copy("data", "again")
    assert result.volume.aliases == ()


def test_a_journal_that_cannot_be_told_takes_the_volume_back(
    world: VolumeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise HostFailure("journal", "no space")

    world.volumes.create("data", "", None, None)
    with monkeypatch.context() as patched:
        patched.setattr(world.executor, "_commit_found", full)
        with pytest.raises(HostFailure, match="no space"):
            world.volumes.copies.copy("data", "again")
    assert world.leftovers() == [] and world.names() == ["data"]


def test_a_copy_with_a_limit_lies_in_a_place_of_its_own(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    write_everything(world.data("data"))
    for source, name, size in (("data", "limited", {"size": "64m"}), ("limited", "again", {})):
        result = world.volumes.copies.copy(source, name, Changes(options=size))
        assert result.volume.options == {"size": "64m"} and result.missed.count == 0
        assert world.driver.limits(name).size_bytes == 64 << 20
        use = "ab" * 32
        try:
            assert describe(world.driver.attach(name, use)) == describe(world.data("data"))
        finally:
            world.driver.detach(name, use)


def test_a_limit_that_is_too_small_leaves_nothing(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    (world.data("data") / "big").write_bytes(os.urandom(40 << 20))
    with pytest.raises(HostFailure, match=r"(No space left|quota exceeded).*a larger size"):
        world.volumes.copies.copy("data", "again", Changes(options={"size": "32m"}))
    assert world.names() == ["data"]


def test_what_a_crash_leaves_mounted_is_let_go_at_the_next_start(
    world: VolumeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(world.volumes.copies, "_throw_away", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            world.volumes.copies.make(NewVolume("new", options={"size": "64m"}), interrupt)
    assert world.leftovers() != []
    world.stop()
    world.start()
    assert mounts_at_or_below(world.disk / "volumes") == [] and world.leftovers() == []


def test_an_owner_that_was_asked_for_holds_and_one_that_was_taken_over_does_not(world: VolumeWorld) -> None:
    world.volumes.create("data", "", {"uid": "5", "gid": "6"}, None)
    os.chown(world.data("data"), 7, 8)
    world.volumes.copies.copy("data", "again")
    assert (world.data("again").stat().st_uid, world.data("again").stat().st_gid) == (7, 8)
    world.volumes.copies.copy("data", "asked", Changes(options={"uid": "9"}))
    assert world.data("asked").stat().st_uid == 9
    assert world.volumes.get("asked").options == {"uid": "9", "gid": "6"}


def test_a_file_system_that_shares_bytes_takes_none_for_a_copy(tmp_path: Path) -> None:
    for folder in ("disk", "journal"):
        (tmp_path / folder).mkdir()
    with mounted_disk(tmp_path / "disk", 256 << 20, "btrfs") as disk:
        world = VolumeWorld(tmp_path / "journal", disk)
        world.volumes.create("data", "", None, None)
        write_everything(world.data("data"))
        (world.data("data") / "big").write_bytes(os.urandom(120 << 20))
        world.volumes.copies.copy("data", "again")
        assert describe(world.data("again")) == describe(world.data("data"))
        world.volumes.copies.copy("data", "limited", Changes(options={"size": "200m"}))
        assert (world.data("limited") / "dir/file").read_bytes() == b"content"
        assert world.leftovers() == []
        world.stop()


@pytest.mark.parametrize("files", [1, 600])
def test_attributes_that_cannot_be_kept_are_told(tmp_path: Path, files: int) -> None:
    for folder in ("disk", "journal", "source"):
        (tmp_path / folder).mkdir()
    for number in range(files):
        (tmp_path / f"source/file{number}").write_text("kept")
    os.setxattr(tmp_path / "source/file0", "user.note", b"lost")
    disk = tmp_path / "disk"
    mount("none", disk, "ramfs")
    try:
        world = VolumeWorld(tmp_path / "journal", disk)
        fd = os.open(tmp_path / "source", os.O_RDONLY)
        result = world.volumes.copies.copy_tree(fd, NewVolume("data"))
        os.close(fd)
        world.stop()
        assert (world.data("data") / "file0").read_text() == "kept"
        assert result.missed.attributes == {"user.note"}
    finally:
        unmount(disk, MNT_DETACH)


def test_a_tree_that_changes_all_the_time_is_copied_all_the_same(world: VolumeWorld) -> None:
    """Directories, links and files take each other's places while they are walked."""
    world.volumes.create("data", "", None, None)
    top = world.data("data")
    (top / "stays").write_text("kept")
    ended = threading.Event()

    def meddle() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            name = top / f"way{number % 5}"
            with suppress(OSError):
                (name / "file").unlink(missing_ok=True)
                name.rmdir()
            with suppress(OSError):
                name.unlink()
            with suppress(OSError):
                (name.symlink_to, name.mkdir, name.touch)[number % 3](*(["/etc"] if number % 3 == 0 else []))
                (name / "file").write_text("x")

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        for number in range(150):
            with memory_directory() as target:
                source_fd, target_fd = (os.open(path, os.O_RDONLY) for path in (top, target))
                trees.copy_live_tree(source_fd, target_fd)
                archive = io.BytesIO()
                pack_tree(source_fd, archive, ".", PackOptions(exact_times=True, cross_mounts=False))
                os.close(source_fd), os.close(target_fd)
                assert (target / "stays").read_text() == "kept", number
                with tarfile.open(fileobj=io.BytesIO(archive.getvalue())) as tar:
                    assert "./stays" in tar.getnames(), number
    finally:
        ended.set()
        meddler.join()


@contextmanager
def memory_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="orlop-", dir="/dev/shm") as folder:
        yield Path(folder)
