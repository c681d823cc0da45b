"""Copy-up on real file systems: everything of a tree comes through, all at once, or nothing does."""

import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_staging
from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine import copyup
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.volumes import Volumes
from orlop.errors import HostFailure
from orlop.kernel.mounts import MNT_DETACH, mount, mounts_at_or_below, unmount
from orlop.store.journal import Journal
from orlop.store.trees import copy_tree, count_entries
from support.disks import mounted_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, owners, mounts")

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep


class World:
    def __init__(self, root: Path, disk: Path | None = None) -> None:
        self.root = root
        self.disk = disk or root
        self.rootfs = root / "rootfs"
        self.rootfs.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.root / "journal.db")
        self.driver = LocalVolumes(self.disk / "volumes")
        self.executor = Executor(self.journal)
        self.volumes = Volumes(self.journal, self.executor, {"local": self.driver}, Events(), self.root / "subpaths")
        self.executor.recover()
        self.volumes.reconcile()

    def stop(self) -> None:
        self.volumes.close()
        self.journal.close()
        self.driver.close()

    def data(self, name: str = "data") -> Path:
        return self.disk / "volumes" / name / "_data"

    def populate(self, path: str = "/seed", name: str = "data") -> None:
        self.volumes.create(name, "", None, None)
        self.volumes.populate(name, self.rootfs, path)

    def seed(self, files: int = 3) -> Path:
        seed = self.rootfs / "seed"
        (seed / "sub").mkdir(parents=True)
        for number in range(files):
            (seed / "sub" / f"file{number}").write_text(f"content {number}")
        return seed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.stop()
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


def make_everything(top: Path) -> None:
    """One of each kind that a root file system may hold."""
    (top / "deep" / "er").mkdir(parents=True)
    (top / "deep" / "er" / "file").write_text("text")
    os.link(top / "deep" / "er" / "file", top / "hard")
    (top / "link").symlink_to("../outside")
    os.chown(top / "link", 5, 6, follow_symlinks=False)
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "device", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    (top / "device").chmod(0o666)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(top / "socket"))
    with (top / "sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
        file.truncate(16 << 20)
    (top / "large").write_bytes(os.urandom(1 << 20))
    (top / "suid").write_text("x")
    os.chown(top / "suid", 1000, 1001)
    (top / "suid").chmod(0o6755)
    (top / "capable").write_text("x")
    os.setxattr(top / "capable", "security.capability", CAPABILITY)
    os.setxattr(top / "deep", "user.note", b"kept")
    os.setxattr(top / "link", "trusted.note", b"on the link", follow_symlinks=False)
    (top / "secret").mkdir(mode=0o000)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, ns=(1_500_000_000_123456789, 1_400_000_000_987654321), follow_symlinks=False)
    os.setxattr(top, "user.top", b"kept")
    os.chown(top, 70, 71)
    top.chmod(0o3771)
    os.utime(top, ns=(1_500_000_000_000000001, 1_400_000_000_000000002))


def portrait(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be seen of a tree."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        name, details = str(path.relative_to(top)), path.lstat()
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        target = str(path.readlink()) if path.is_symlink() else ""
        first = inodes.setdefault(details.st_ino, name) if not path.is_dir() else name
        size = details.st_size if content or target else 0
        owner = (details.st_mode, details.st_uid, details.st_gid, details.st_rdev, details.st_mtime_ns)
        found[name] = (*owner, size, attributes, content, target, first)
    return found


def test_everything_comes_through_as_it_is(world: World) -> None:
    seed = world.rootfs / "seed"
    seed.mkdir()
    make_everything(seed)
    wanted = portrait(seed)
    world.populate()
    assert portrait(world.data()) == wanted
    assert (world.data() / "sparse").stat().st_blocks * 512 < 1 << 20, "its holes are holes"


@pytest.mark.parametrize("way", ["reflink", "range", "sendfile"])
def test_every_way_of_copying_bytes_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    make_everything(source)
    wanted = portrait(source)
    if way == "sendfile":
        monkeypatch.delattr(os, "copy_file_range")
        monkeypatch.setattr(os, "copy_file_range", _refusing, raising=False)
    source_fd, target_fd = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
    copy_tree(source_fd, target_fd, sync_each=way == "range")
    os.close(source_fd)
    os.close(target_fd)
    assert portrait(target) == wanted


def _refusing(*_: object) -> int:
    raise OSError(18, "Invalid cross-device link")


def test_an_empty_directory_of_the_image_gives_its_owner_and_mode(world: World) -> None:
    seed = world.rootfs / "seed"
    seed.mkdir()
    os.chown(seed, 1001, 1002)
    seed.chmod(0o700)
    world.populate()
    details = world.data().stat()
    assert (details.st_uid, details.st_gid, stat.S_IMODE(details.st_mode)) == (1001, 1002, 0o700)
    assert list(world.data().iterdir()) == []


@pytest.mark.parametrize("path", ["/missing", "/seed/sub/file0", "/loop"])
def test_where_the_image_has_no_directory_nothing_happens(world: World, path: str) -> None:
    world.seed()
    (world.rootfs / "loop").symlink_to("loop")
    world.populate(path)
    assert list(world.data().iterdir()) == []


def test_links_of_the_image_lead_within_the_image_only(world: World, tmp_path: Path) -> None:
    world.seed()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "host").write_text("secret")
    (world.rootfs / "inside").symlink_to("/seed/sub")
    (world.rootfs / "escape").symlink_to(f"../../../../../../..{outside}")
    (world.rootfs / "absolute").symlink_to(str(outside))
    world.populate("/inside", "one")
    assert (world.data("one") / "file0").read_text() == "content 0"
    for name in ("escape", "absolute"):
        world.populate(f"/{name}", name)
        assert list(world.data(name).iterdir()) == []


@pytest.mark.parametrize("content", [".hidden", "lost+found", "file0"])
def test_a_volume_with_anything_in_it_is_left_alone(world: World, content: str) -> None:
    world.seed()
    world.volumes.create("data", "", None, None)
    (world.data() / content).mkdir()
    world.populate()
    assert [entry.name for entry in world.data().iterdir()] == [content]


def test_who_has_the_volume_open_already_sees_the_content_arrive(world: World) -> None:
    world.seed()
    world.volumes.create("data", "", None, None)
    for holder in ("a" * 64, "b" * 64):
        world.volumes.hold("data", holder)
    fd = os.open(world.data(), os.O_RDONLY | os.O_DIRECTORY)
    world.populate()
    assert os.listdir(fd) == ["sub"]
    os.close(fd)


def test_two_at_once_on_one_empty_volume_give_one_whole_content(world: World) -> None:
    world.seed(files=200)
    world.volumes.create("data", "", None, None)
    for holder in ("a" * 64, "b" * 64):
        world.volumes.hold("data", holder)
    threads = [threading.Thread(target=world.populate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((world.data() / "sub").iterdir())) == 200
    assert world.driver.list_staged() == []


def test_many_files_are_on_the_disk_as_few_are(world: World) -> None:
    world.seed(files=copyup.FEW_ENTRIES * 2)
    world.populate()
    assert len(list((world.data() / "sub").iterdir())) == copyup.FEW_ENTRIES * 2


def test_counting_stops_when_there_are_enough(world: World) -> None:
    seed = world.seed(files=30)
    fd = os.open(seed, os.O_RDONLY)
    assert count_entries(fd, 1000) == (31, sum(len(f"content {number}") for number in range(30)))
    assert count_entries(fd, 5)[0] >= 5
    os.close(fd)


def test_a_full_disk_leaves_the_volume_empty_and_says_so(tmp_path: Path) -> None:
    with mounted_disk(tmp_path, 8 << 20) as disk:
        world = World(tmp_path, disk)
        seed = world.seed()
        (seed / "large").write_bytes(os.urandom(16 << 20))
        world.volumes.create("data", "", None, None)
        before = os.statvfs(disk).f_bavail
        with pytest.raises(HostFailure, match="No space left on device"):
            world.populate()
        assert list(world.data().iterdir()) == []
        assert world.driver.list_staged() == []
        assert os.statvfs(disk).f_bavail >= before - 16
        (seed / "large").unlink()
        world.populate()
        assert (world.data() / "sub" / "file0").read_text() == "content 0"
        world.stop()


def test_content_of_a_mounted_volume_is_copied_into_the_mount(world: World) -> None:
    world.seed()
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    world.volumes.create("ram", "", options, None)
    mount("tmpfs", world.data("ram"), "tmpfs")  # as when another container uses it
    (world.data("ram").parent / "uses").mkdir()
    (world.data("ram").parent / "uses" / "1").touch()
    world.volumes.populate("ram", world.rootfs, "/seed")
    assert (world.data("ram") / "sub" / "file1").read_text() == "content 1"
    assert world.driver.list_staged() == []


def test_content_too_large_for_a_mounted_volume_is_taken_back(world: World) -> None:
    seed = world.seed()
    (seed / "large").write_bytes(os.urandom(4 << 20))
    world.volumes.create("ram", "", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, None)
    use = "1" * 64
    world.driver.attach("ram", use)
    with pytest.raises(HostFailure, match="No space left"):
        world.volumes.populate("ram", world.rootfs, "/seed")
    assert list(world.data("ram").iterdir()) == []
    world.driver.detach("ram", use)


def die_at_rename(number: int) -> None:
    """The process ends in the middle of publishing, as by SIGKILL."""
    rename, done = local_staging.rename_if_absent, 0

    def dying(source_fd: int, source: str, target_fd: int, target: str) -> None:
        nonlocal done
        if done == number:
            os._exit(7)
        done += 1
        rename(source_fd, source, target_fd, target)

    local_staging.rename_if_absent = dying


@pytest.mark.parametrize("after", [0, 1, 2])
def test_publishing_that_a_crash_cut_off_goes_on_at_the_next_start(world: World, after: int) -> None:
    seed = world.seed()
    for name in ("aa", "bb"):
        (seed / name).write_text(name)
    seed.chmod(0o711)
    world.volumes.create("data", "", None, None)
    for holder in ("a" * 64, "b" * 64):
        world.volumes.hold("data", holder)
    world.stop()
    child = os.fork()
    if child == 0:
        world.start()
        die_at_rename(after)
        world.volumes.populate("data", world.rootfs, "/seed")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(list(world.data().iterdir())) == after
    world.start()
    assert sorted(entry.name for entry in world.data().iterdir()) == ["aa", "bb", "sub"]
    assert stat.S_IMODE(world.data().stat().st_mode) == 0o711
    assert world.driver.list_staged() == []


def test_an_empty_part_of_a_volume_is_filled_whole_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = world.seed()
    os.chown(seed, 70, 71)
    world.volumes.create("data", "", None, None)
    (world.data() / "part").mkdir()

    def fail(source_fd: int, target_fd: int, **more: object) -> None:
        copy_tree(source_fd, target_fd)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copyup, "copy_tree", fail)
    with pytest.raises(HostFailure, match="No space left"):
        world.volumes.populate("data", world.rootfs, "/seed", "part")
    assert list((world.data() / "part").iterdir()) == []
    monkeypatch.undo()
    world.volumes.populate("data", world.rootfs, "/seed", "part")
    assert (world.data() / "part/sub/file2").read_text() == "content 2"
    assert (world.data() / "part").stat().st_uid == 70 and world.data().stat().st_uid == 0


def test_a_link_swapped_for_a_part_leads_no_copy_outside(world: World, tmp_path: Path) -> None:
    world.seed()
    outside = tmp_path / "outside"
    outside.mkdir()
    world.volumes.create("data", "", None, None)
    part, aside = world.data() / "part", world.data() / "aside"
    part.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            part.rename(aside)
            part.symlink_to(outside)
            part.unlink()
            aside.rename(part)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(100):
            world.volumes.populate("data", world.rootfs, "/seed", "part")
    finally:
        stop.set()
        attacker.join()
    assert list(outside.iterdir()) == []
