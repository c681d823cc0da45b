"""Copy-up into volumes whose content is mounted: as whole, as resumable and as careful as into a plain one."""

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine import copyup
from orlop.errors import HostFailure
from orlop.kernel.mounts import MNT_DETACH, MS_RDONLY, MS_REMOUNT, mount, mounts_at_or_below, unmount
from orlop.store.trees import TreeCopy, copy_tree
from support.dying import dies_before
from support.volume_world import VolumeWorld

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, owners, mounts")

USE, OTHER = "1" * 64, "2" * 64
Options = dict[str, str]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VolumeWorld]:
    world = VolumeWorld(tmp_path)
    yield world
    world.stop()
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    seed = tmp_path / "rootfs" / "seed"
    (seed / "sub").mkdir(parents=True)
    (seed / "sub" / "file").write_text("content")
    os.link(seed / "sub" / "file", seed / "hard")
    os.mkfifo(seed / "fifo", 0o640)
    (seed / "link").symlink_to("/etc/passwd")
    os.chown(seed, 70, 71)
    seed.chmod(0o2750)
    os.utime(seed, ns=(1_500_000_000_000000001, 1_400_000_000_000000002))
    return seed


@pytest.fixture(params=["memory", "directory", "disk", "image"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Options]:
    if request.param == "memory":
        yield {"type": "tmpfs", "device": "tmpfs"}
    elif request.param == "directory":
        (tmp_path / "host").mkdir()
        yield {"type": "none", "device": str(tmp_path / "host"), "o": "bind"}
    elif request.param == "image":
        yield {"size": "8m"}
    else:
        image = tmp_path / "disk.img"
        with image.open("wb") as file:
            file.truncate(4 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        losetup = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
        yield {"type": "ext4", "device": losetup.stdout.strip()}
        for entry in mounts_at_or_below(tmp_path):
            unmount(entry.mount_point, MNT_DETACH)
        subprocess.run(["losetup", "-d", losetup.stdout.strip()], check=True)


def content(top: Path) -> list[str]:
    return sorted(name for name in os.listdir(top) if name != "lost+found")


def populate(world: VolumeWorld) -> None:
    world.volumes.populate("data", world.root / "rootfs", "/seed")


def test_everything_comes_through_as_it_is(world: VolumeWorld, seed: Path, options: Options) -> None:
    world.volumes.create("data", "", options, None)
    top = world.driver.attach("data", USE)
    populate(world)
    assert content(top) == ["fifo", "hard", "link", "sub"]
    details = top.stat()
    assert (details.st_uid, details.st_gid, stat.S_IMODE(details.st_mode)) == (70, 71, 0o2750)
    assert details.st_mtime_ns == 1_400_000_000_000000002
    assert (top / "hard").stat().st_ino == (top / "sub" / "file").stat().st_ino
    assert stat.S_IMODE((top / "fifo").stat().st_mode) == 0o640
    assert str((top / "link").readlink()) == "/etc/passwd"
    world.driver.detach("data", USE)
    assert not mounts_at_or_below(world.data("data"))
    assert world.leftovers() == []


def test_an_owner_that_was_asked_for_beats_the_image_s(world: VolumeWorld, seed: Path, options: Options) -> None:
    if "bind" in options.get("o", ""):
        return  # a directory of the host has no owner of the volume's
    world.volumes.create("data", "", {**options, "uid": "5", "mode": "0711"}, None)
    top = world.driver.attach("data", USE)
    populate(world)
    details = top.stat()
    assert (details.st_uid, stat.S_IMODE(details.st_mode)) == (5, 0o711)
    world.driver.detach("data", USE)


def test_copy_up_cut_off_anywhere_is_whole_or_not_at_all(world: VolumeWorld, seed: Path, options: Options) -> None:
    """Whatever the moment, after a new start the volume is empty or has everything, and nobody has it any more."""
    whole = ["fifo", "hard", "link", "sub"]
    ends: set[bool] = set()
    # How many calls there are depends on the machine: each loop device is one more to look at.
    for number in (*range(0, 400, 3), *range(400, 6000, 40)):
        world.volumes.create("data", "", options, None)
        keeper = "keeper"
        if options.get("type") == "tmpfs":  # or there would be nothing to look at
            world.driver.attach("data", keeper)

        def act() -> None:
            world.start()
            populate(world)

        world.stop()  # what was made is being settled by a thread, which a child would not have, but for its locks
        died = dies_before(number, act)
        world.start()
        world.driver.detach_others([keeper])
        top = world.driver.attach("data", USE)
        found = content(top)
        assert found in ([], whole)
        ends.add(bool(found))
        populate(world)
        assert content(top) == whole
        for name in whole:
            subprocess.run(["rm", "-rf", top / name], check=True)
        for use in (USE, keeper):
            world.driver.detach("data", use)
        assert not mounts_at_or_below(world.data("data")), "a use that nobody lets go of"
        assert world.leftovers() == []
        world.volumes.remove("data")
        if not died:
            break
    assert ends == {False, True} and not died


def test_lost_and_found_alone_is_nothing(world: VolumeWorld, seed: Path, options: Options) -> None:
    world.volumes.create("data", "", options, None)
    top = world.driver.attach("data", USE)
    has_one = (top / "lost+found").exists()
    populate(world)
    assert "sub" in content(top)
    assert (top / "lost+found").exists() == has_one
    world.driver.detach("data", USE)


def test_lost_and_found_of_the_user_s_own_is_something(world: VolumeWorld, seed: Path) -> None:
    world.volumes.create("data", "", None, None)
    (world.data("data") / "lost+found").mkdir()
    populate(world)
    assert os.listdir(world.data("data")) == ["lost+found"]


def test_what_cannot_be_written_to_stays_empty_and_is_used_all_the_same(world: VolumeWorld, seed: Path) -> None:
    (world.root / "host").mkdir()
    options = {"type": "none", "device": str(world.root / "host"), "o": "bind,ro"}
    world.volumes.create("data", "", options, None)
    populate(world)
    assert os.listdir(world.root / "host") == [] and world.leftovers() == []
    assert not mounts_at_or_below(world.data("data"))


def test_a_disk_that_fills_up_is_left_as_it_was(world: VolumeWorld, seed: Path) -> None:
    (seed / "large").write_bytes(os.urandom(4 << 20))
    world.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, None)
    top = world.driver.attach("data", USE)
    with pytest.raises(HostFailure, match="No space left"):
        populate(world)
    assert os.listdir(top) == [] and world.leftovers() == []
    world.driver.detach("data", USE)


def test_a_disk_that_turns_read_only_says_so(world: VolumeWorld, seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs"}, None)
    top = world.driver.attach("data", USE)
    genuine = copyup.copy_durably

    def then_read_only(source_fd: int, target_fd: int) -> None:
        genuine(source_fd, target_fd)
        mount("none", top, "", MS_REMOUNT | MS_RDONLY)

    monkeypatch.setattr(copyup, "copy_durably", then_read_only)
    with pytest.raises(HostFailure, match="Read-only file system"):
        populate(world)
    mount("none", top, "", MS_REMOUNT)
    world.stop()
    world.start()
    assert os.listdir(top) == [] and world.leftovers() == []
    world.driver.detach("data", USE)


def swapping(top: Path, victim: Path, stop: threading.Event) -> None:
    """Root in a container that has the volume: puts links to places outside over whatever appears in it."""
    while not stop.is_set():
        try:
            for folder, names, files in os.walk(top):
                for name in (*names, *files):
                    place = Path(folder) / name
                    if place.is_symlink():
                        continue
                    aside = place.with_name(f"{name}-aside")
                    place.rename(aside)
                    place.symlink_to(victim if place.name in names else victim / "note")
        except OSError:
            continue


def test_links_swapped_into_the_volume_meanwhile_lead_nowhere(world: VolumeWorld, seed: Path) -> None:
    victim = world.root / "victim"
    victim.mkdir()
    (victim / "note").write_text("precious")
    (victim / "note").chmod(0o600)
    for number in range(40):
        (seed / f"d{number}").mkdir()
        (seed / f"d{number}" / "note").write_text("image")
        os.link(seed / f"d{number}" / "note", seed / f"d{number}-hard")
        os.mkfifo(seed / f"d{number}" / "fifo", 0o666)
    world.volumes.create("data", "", {"type": "none", "device": str(world.root / "host"), "o": "bind"}, None)
    for number in range(8):
        top = world.root / "host"
        top.mkdir()
        stop = threading.Event()
        attacker = threading.Thread(target=swapping, args=(top, victim, stop))
        attacker.start()
        try:
            if number % 2:
                copy_again(seed, top)
            else:
                with suppress(HostFailure):  # their own trouble
                    populate(world)
        finally:
            stop.set()
            attacker.join()
        details = (victim / "note").stat()
        assert (victim / "note").read_text() == "precious"
        assert (stat.S_IMODE(details.st_mode), details.st_nlink, details.st_uid) == (0o600, 1, 0)
        assert os.listdir(victim) == ["note"]
        subprocess.run(["rm", "-rf", top], check=True)


def copy_again(source: Path, target: Path) -> None:
    """The copy alone, with nothing between it and the attacker."""
    source_fd, target_fd = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target))
    with suppress(OSError):
        copy_tree(source_fd, target_fd)
    for fd in (source_fd, target_fd):
        os.close(fd)


def test_two_at_once_give_one_whole_content(world: VolumeWorld, seed: Path) -> None:
    (world.root / "host").mkdir()
    world.volumes.create("data", "", {"type": "none", "device": str(world.root / "host"), "o": "bind"}, None)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(populate, world) for _ in range(4)]:
            done.result()
    assert content(world.root / "host") == ["fifo", "hard", "link", "sub"]


def test_a_publishing_that_could_not_be_finished_at_the_start_is_finished_by_the_next_use(
    world: VolumeWorld, seed: Path
) -> None:
    host = world.root / "host"
    host.mkdir()
    world.driver.create("data", {"type": "none", "device": str(host), "o": "bind"}, "")
    staged = world.driver.stage("data", "one")
    for name in ("aa", "bb"):
        (staged / name).write_text(name)
    (host / ".orlop-one").rename(host / ".orlop-one.moving")
    (host / ".orlop-one.moving" / "aa").rename(host / "aa")
    again = LocalVolumes(world.driver.root)
    top = again.attach("data", OTHER)
    assert content(top) == ["aa", "bb"] and again.list_staged() == []
    again.detach("data", OTHER)
    assert not mounts_at_or_below(top)
    again.close()


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "first").write_text("precious")
    (victim / "first").chmod(0o600)
    return victim


def test_a_hard_link_is_made_to_what_was_copied_and_to_nothing_else(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory of its first name is a link to another place by the time that the second is made."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    (source / "sub" / "first").write_text("image")
    (source / "zz").mkdir()
    os.link(source / "sub" / "first", source / "zz" / "second")
    genuine = TreeCopy._link

    def swap_before(copy: TreeCopy, *arguments: object) -> bool:
        for folder, name in (("sub", "first"), ("zz", "second")):
            if (target / folder / name).exists() and not (target / folder).is_symlink():
                (victim / name).touch()
                (target / folder).rename(target / "aside")
                (target / folder).symlink_to(victim)
        return genuine(copy, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TreeCopy, "_link", swap_before)
    copy_again(source, target)
    assert [path.stat().st_nlink for path in victim.iterdir()] == [1] * len(list(victim.iterdir()))
    assert (target / "aside").exists(), "the test swapped nothing"


@pytest.mark.parametrize("call", ["mknod", "symlink"])
def test_what_was_made_gets_its_mode_and_nothing_else_does(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    os.mkfifo(source / "fifo", 0o666)
    (source / "link").symlink_to("nowhere")
    genuine = getattr(os, call)
    name = {"mknod": "fifo", "symlink": "link"}[call]

    def swap_after(*arguments: object, **more: object) -> None:
        genuine(*arguments, **more)
        (target / name).unlink()
        genuine_symlink(victim / "first", target / name)

    genuine_symlink = os.symlink
    before = (victim / "first").stat()
    monkeypatch.setattr(os, call, swap_after)
    copy_again(source, target)
    after = (victim / "first").stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert (target / name).is_symlink(), "the test swapped nothing"
