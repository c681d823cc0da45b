"""Layers on the real overlayfs, and what happens when the disk is full."""

import errno
import io
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.archive.source import ArchiveSource
from orlop.drivers.layers.overlay2 import Overlay2Layers
from orlop.drivers.layers.probe import choose, overlay_fault
from orlop.drivers.layers.vfs import VfsLayers
from orlop.errors import HostFailure, Unsupported
from orlop.kernel.mounts import mounts_at_or_below, unmount
from orlop.testing.archives import directory, file, make_tar, opaque, symlink, whiteout
from orlop.testing.layer_scenes import LayerScenes, new_id

Disk = Callable[[int], Path]


@pytest.fixture
def disk(small_disk: Disk) -> Iterator[Path]:
    path = small_disk(64 << 20)
    yield path
    for mount in mounts_at_or_below(path):
        if mount.mount_point != str(path):
            unmount(mount.mount_point)


@pytest.fixture
def scenes(tmp_path: Path) -> LayerScenes:
    made = LayerScenes()
    made.scratch = tmp_path
    return made


def free_bytes(path: Path) -> int:
    facts = os.statvfs(path)
    return facts.f_bfree * facts.f_bsize


def test_125_layers_are_mounted_as_one(disk: Path, scenes: LayerScenes) -> None:
    # A root so long that 125 absolute paths are far over the page that mount(2) takes.
    driver = Overlay2Layers(disk / ("a,b:c\\d" * 9) / "overlay2")
    parent = ""
    for number in range(125):
        members = [file(f"f{number}", b"%d" % number), file("shared", b"%d" % number)]
        if number % 2:
            members.append(whiteout(f"f{number - 1}"))
        parent = scenes.layer(driver, make_tar(*members), parent)
    with scenes.mounted(driver, parent) as (layer_id, root):
        shown = {path.name for path in root.iterdir() if path.name.startswith("f")}
        assert shown == {f"f{number}" for number in range(1, 125, 2)} | {"f124"}
        assert (root / "shared").read_bytes() == b"124"
        (root / "f1").unlink()
        assert [(change.path, change.kind) for change in driver.changes(layer_id)] == [("/f1", 2)]
        assert driver.describe(layer_id)["LowerDir"].count("/diff") == 126
    tree = driver.open_tree(parent)
    try:
        for name, is_there in (("f1", True), ("f0", False), ("f124", True)):
            assert (name in os.listdir(f"/proc/self/fd/{tree}")) == is_there
    finally:
        os.close(tree)


def test_a_container_cannot_lead_changes_and_commit_outside(disk: Path, scenes: LayerScenes) -> None:
    driver = Overlay2Layers(disk / "overlay2")
    base = scenes.layer(driver, make_tar(file("etc/passwd", b"image's"), file("etc/group", b"x")))
    with scenes.mounted(driver, base) as (layer_id, root):
        (root / "etc/passwd").unlink()
        (root / "etc/group").unlink()
        subprocess.run(["rm", "-rf", root / "etc"], check=True)
        (root / "etc").symlink_to("/etc")
        (root / "loop").symlink_to(".")
        assert {change.path for change in driver.changes(layer_id)} >= {"/etc", "/loop"}
        assert not [change for change in driver.changes(layer_id) if change.path.startswith(("/loop/", "/etc/host"))]
        out = io.BytesIO()
        driver.write_changes_tar(layer_id, out)
        assert b"root:x:0:0" not in out.getvalue()


def test_a_layer_that_is_unmounted_while_in_use_goes_with_its_last_user(disk: Path) -> None:
    driver = Overlay2Layers(disk / "overlay2")
    layer_id = new_id()
    driver.create_writable(layer_id, "")
    root = driver.mount(layer_id)
    held = os.open(root / "proc", os.O_RDONLY)
    driver.unmount(layer_id)
    assert not driver.is_mounted(layer_id)
    assert not root.exists()
    os.close(held)
    driver.remove(layer_id)


def test_marks_that_hide_nothing_are_not_listed(disk: Path, scenes: LayerScenes) -> None:
    driver = Overlay2Layers(disk / "overlay2")
    lower = scenes.layer(driver, make_tar(file("merged/a"), file("opaque/a")))
    upper = make_tar(
        whiteout("alone/x"), whiteout("merged/a"), directory("opaque"), opaque("opaque"), whiteout("opaque/a")
    )
    with scenes.mounted(driver, scenes.layer(driver, upper, lower)) as (_, root):
        for name in ("alone", "merged", "opaque"):
            assert list((root / name).iterdir()) == []


def test_a_link_in_the_place_of_a_directory_leads_nowhere(disk: Path, scenes: LayerScenes, tmp_path: Path) -> None:
    """What is set right after unpacking (directories that no member describes, idle marks) stays in the layer."""
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True, mode=0o700)
    os.mknod(outside / "mark", stat.S_IFCHR)
    driver = Overlay2Layers(disk / "overlay2")
    lower = scenes.layer(driver, make_tar(directory("a/b", mode=0o777, uid=7), directory("c")))
    upper = make_tar(file("a/b/x"), symlink("a", str(outside)), whiteout("w/mark"), symlink("w", str(outside)))
    scenes.layer(driver, upper, lower)
    assert (outside / "b").stat().st_uid == 0
    assert stat.S_IMODE((outside / "b").stat().st_mode) == 0o700
    assert (outside / "mark").exists()


@pytest.mark.parametrize("make", [Overlay2Layers, VfsLayers])
def test_a_full_disk_stops_a_layer_and_nothing_of_it_stays(
    disk: Path, scenes: LayerScenes, make: Callable[[Path], Overlay2Layers | VfsLayers]
) -> None:
    driver = make(disk / "layers")
    kept = scenes.layer(driver, make_tar(file("kept", b"kept" * 1000)))
    free = free_bytes(disk)
    layer_id = new_id()
    driver.create(layer_id, "")
    (scenes.scratch / "t").write_bytes(make_tar(*(file(f"d/{number}", os.urandom(1 << 20)) for number in range(80))))
    with pytest.raises(HostFailure, match=os.strerror(errno.ENOSPC)):
        driver.apply(layer_id, ArchiveSource(scenes.scratch / "t"), scenes.scratch / "recipe")
    assert set(driver.list_layers()) == {kept, layer_id}
    driver.remove(layer_id)
    driver.cleanup()
    assert list(driver.list_layers()) == [kept]
    assert free - free_bytes(disk) < 100_000
    with scenes.mounted(driver, kept) as (_, root):
        assert (root / "kept").read_bytes() == b"kept" * 1000


def test_a_packed_layer_that_fills_the_disk_leaves_no_plain_copy(disk: Path, scenes: LayerScenes) -> None:
    driver = Overlay2Layers(disk / "overlay2")
    layer_id = new_id()
    driver.create(layer_id, "")
    packed = scenes.scratch / "t.gz"
    subprocess.run(f"head -c 200M /dev/zero | gzip > {packed}", shell=True, check=True)
    with pytest.raises(HostFailure, match=os.strerror(errno.ENOSPC)):
        driver.apply(layer_id, ArchiveSource(packed), scenes.scratch / "recipe")
    assert free_bytes(disk) > 40 << 20


def test_the_probe_finds_what_works(disk: Path, scenes: LayerScenes) -> None:
    assert overlay_fault(disk) == ""
    assert choose(disk) == "overlay2"
    assert choose(disk, "vfs") == "vfs"
    assert [path.name for path in disk.iterdir()] == ["lost+found"]
    driver = Overlay2Layers(disk / "overlay2")
    layer_id = new_id()
    driver.create_writable(layer_id, "")
    root = driver.mount(layer_id)
    # overlayfs does not take an overlay as its upper file system: what a data root inside a container finds.
    assert overlay_fault(root) != ""
    assert choose(root) == "vfs"
    with pytest.raises(Unsupported, match="overlay2"):
        choose(root, "overlay2")
    with pytest.raises(Unsupported, match="There are: overlay2, vfs"):
        choose(root, "zfs")


def test_a_driver_is_not_changed_because_it_fails(disk: Path, scenes: LayerScenes) -> None:
    driver = Overlay2Layers(disk / "overlay2")
    layer_id = new_id()
    driver.create_writable(layer_id, "")
    inside = driver.mount(layer_id)
    (inside / "overlay2" / new_id()).mkdir(parents=True)
    with pytest.raises(Unsupported, match="overlay2"):
        choose(inside)
    VfsLayers(disk / "other" / "vfs").create(new_id(), "")
    assert choose(disk / "other") == "vfs"
