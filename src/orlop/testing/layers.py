"""The contract suite of layer drivers: every driver's test file derives from it and says how to make one.

class TestOverlay2(LayerDriverContract):
    @pytest.fixture
    def driver(self, ...) -> Iterator[LayerDriver]: ...   # on a file system that it can use; cleaned up afterwards
    def reopened(self, driver) -> LayerDriver: ...        # as a daemon started anew would have it
"""

import io
import os
import stat
from pathlib import Path

import pytest

from orlop.drivers.layers.driver import LayerDriver
from orlop.errors import Conflict, Malformed, NotFound, Unsupported
from orlop.kernel.mounts import detach_privately, mounts_at_or_below, move_mount
from orlop.testing.archives import (
    directory,
    file,
    hard_link,
    make_tar,
    symlink,
)
from orlop.testing.layer_archives import LayerArchivesContract
from orlop.testing.layer_scenes import new_id, snapshot


class LayerDriverContract(LayerArchivesContract):
    """Method names are the promises."""

    # Life of layers.

    def test_a_new_driver_has_no_layers(self, driver: LayerDriver) -> None:
        assert list(driver.list_layers()) == []

    def test_status_is_pairs_of_words(self, driver: LayerDriver) -> None:
        assert all(key and value for key, value in driver.status())
        assert driver.name

    def test_creating_twice_is_success(self, driver: LayerDriver) -> None:
        layer_id = new_id()
        driver.create(layer_id, "")
        driver.create(layer_id, "")
        assert list(driver.list_layers()) == [layer_id]

    def test_a_layer_on_an_unknown_parent_is_refused(self, driver: LayerDriver) -> None:
        with pytest.raises(NotFound):
            driver.create(new_id(), new_id())
        with pytest.raises(NotFound):
            driver.create_writable(new_id(), new_id())

    def test_an_id_that_is_a_path_is_refused(self, driver: LayerDriver) -> None:
        for layer_id in ("", "l", "../x", "a" * 63, "A" * 64):
            with pytest.raises(Malformed):
                driver.create(layer_id, "")

    def test_unknown_layers_are_not_found(self, driver: LayerDriver) -> None:
        with pytest.raises(NotFound):
            driver.mount(new_id())
        with pytest.raises(NotFound):
            driver.changes(new_id())
        with pytest.raises(NotFound):
            driver.size_bytes(new_id())

    def test_removing_is_repeatable_and_ends_the_layer(self, driver: LayerDriver) -> None:
        layer_id = self.layer(driver, make_tar(file("a", b"1")))
        driver.remove(layer_id)
        driver.remove(layer_id)
        driver.remove(new_id())
        assert list(driver.list_layers()) == []
        driver.cleanup()
        driver.cleanup()

    def test_a_driver_started_anew_knows_all_layers(self, driver: LayerDriver) -> None:
        base = self.layer(driver, make_tar(file("a", b"1")))
        half_made, writable = new_id(), new_id()
        driver.create(half_made, base)
        driver.create_writable(writable, base)
        again = self.reopened(driver)
        assert set(again.list_layers()) == {base, half_made, writable}
        assert (again.mount(writable) / "a").read_bytes() == b"1"
        assert again.is_mounted(writable)
        again.unmount(writable)

    def test_mounting_and_unmounting_twice_is_success(self, driver: LayerDriver) -> None:
        layer_id = new_id()
        driver.create_writable(layer_id, "")
        driver.unmount(layer_id)
        assert not driver.is_mounted(layer_id)
        assert driver.mount(layer_id) == driver.mount(layer_id)
        assert driver.is_mounted(layer_id)
        driver.unmount(layer_id)
        driver.unmount(layer_id)
        assert not driver.is_mounted(layer_id)

    def test_a_mounted_layer_is_not_removed(self, driver: LayerDriver) -> None:
        layer_id = new_id()
        driver.create_writable(layer_id, "")
        root = driver.mount(layer_id)
        (root / "kept").write_text("kept")
        with pytest.raises(Conflict):
            driver.remove(layer_id)
        assert (root / "kept").read_text() == "kept"
        driver.unmount(layer_id)
        driver.remove(layer_id)
        assert not root.exists()

    def test_creating_a_writable_layer_twice_keeps_what_was_written(self, driver: LayerDriver) -> None:
        layer_id = new_id()
        driver.create_writable(layer_id, "")
        (driver.mount(layer_id) / "kept").write_text("kept")
        driver.unmount(layer_id)
        driver.create_writable(layer_id, "")
        assert (driver.mount(layer_id) / "kept").read_text() == "kept"
        driver.unmount(layer_id)

    # Read-only layers, looked at.

    def test_a_stack_of_layers_is_opened_as_one_tree_that_nobody_can_write_to(self, driver: LayerDriver) -> None:
        base = self.layer(driver, make_tar(file("a", b"below"), file("gone", b"x"), directory("d"), file("d/kept")))
        middle = self.layer(driver, make_tar(file(".wh.gone"), file("d/new", b"new")), base)
        top = self.layer(driver, make_tar(file("a", b"above"), symlink("link", "d/new")), middle)
        for layer_id, seen in ((base, b"below"), (middle, b"below"), (top, b"above")):
            tree = driver.open_tree(layer_id)
            try:
                assert self.read_at(tree, "a") == seen
                assert self.has(tree, "gone") == (layer_id == base)
                assert self.has(tree, "d/new") == (layer_id != base)
                with pytest.raises(OSError, match="Read-only file system"):
                    os.open("a", os.O_WRONLY, dir_fd=tree)
            finally:
                os.close(tree)
        with pytest.raises(NotFound):
            driver.open_tree(new_id())

    def test_what_is_opened_is_attached_and_leaves_nothing_behind(self, driver: LayerDriver, tmp_path: Path) -> None:
        base = self.layer(driver, make_tar(file("a", b"below")))
        layer_id = self.layer(driver, make_tar(file("b", b"above")), base)
        # Of this process's tests alone: others of the machine come and go meanwhile.
        ours = tmp_path.parent
        before = len(mounts_at_or_below(ours))
        place = tmp_path / "attached"
        place.mkdir()
        tree = driver.open_tree(layer_id)
        target = os.open(place, os.O_PATH)
        try:
            move_mount(tree, target)
            assert sorted(path.name for path in place.iterdir()) == ["a", "b"]
            assert len(mounts_at_or_below(ours)) == before + 1
            again = driver.open_tree(layer_id)
            os.close(again)
        finally:
            os.close(tree)
            os.close(target)
            detach_privately(place)
        assert len(mounts_at_or_below(ours)) == before
        assert set(self.reopened(driver).list_layers()) == {base, layer_id}

    @staticmethod
    def has(tree: int, name: str) -> bool:
        try:
            os.stat(name, dir_fd=tree, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    @staticmethod
    def read_at(tree: int, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY, dir_fd=tree)
        try:
            return os.read(fd, 100)
        finally:
            os.close(fd)

    # The writable layer.

    def test_a_container_finds_what_it_needs(self, driver: LayerDriver) -> None:
        for parent in ("", self.layer(driver, make_tar(symlink("etc", "/outside"), file("proc", b"x")))):
            with self.mounted(driver, parent) as (layer_id, root):
                for name in ("dev/pts", "dev/shm", "proc", "sys"):
                    assert (root / name).is_dir()
                    assert not (root / name).is_symlink()
                for name in (".dockerenv", "etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/console"):
                    assert (root / name).read_bytes() == b""
                assert (root / "etc/mtab").readlink() == Path("/proc/mounts")
                assert list(driver.changes(layer_id)) == []

    def test_the_image_keeps_its_directories(self, driver: LayerDriver) -> None:
        tar = make_tar(directory("etc", mode=0o750, uid=3, mtime=1_000_000_000), file("etc/passwd", b"root"))
        with self.mounted(driver, self.layer(driver, tar)) as (layer_id, root):
            details = (root / "etc").stat()
            assert (stat.S_IMODE(details.st_mode), details.st_uid) == (0o750, 3)
            assert (root / "etc/passwd").read_bytes() == b"root"
            assert list(driver.changes(layer_id)) == []

    def test_two_writable_layers_do_not_see_each_other(self, driver: LayerDriver) -> None:
        base = self.layer(driver, make_tar(file("a", b"image")))
        with self.mounted(driver, base) as (_, first), self.mounted(driver, base) as (_, second):
            (first / "a").write_bytes(b"changed")
            (first / "mine").touch()
            assert (second / "a").read_bytes() == b"image"
            assert not (second / "mine").exists()

    def test_changes_name_what_differs(self, driver: LayerDriver) -> None:
        tar = make_tar(
            file("etc/a", b"1"), file("etc/b", b"2"), file("gone", b"3"), file("tree/x"), file("tree/y"),
            file("same", b"4"), directory("redone"), file("redone/old"), file("kind", b"5"),
        )  # fmt: skip
        with self.mounted(driver, self.layer(driver, tar)) as (layer_id, root):
            (root / "etc/a").write_bytes(b"changed")
            (root / "gone").unlink()
            (root / "new").mkdir()
            (root / "new/file").write_bytes(b"12345")
            (root / "tree/x").unlink()
            (root / "same").chmod(0o600)
            (root / "same").chmod(0o644)
            (root / "redone/old").unlink()
            (root / "redone").rmdir()
            (root / "redone").mkdir()
            (root / "redone/fresh").touch()
            (root / "kind").unlink()
            (root / "kind").mkdir()
            (root / "temporary").touch()
            (root / "temporary").unlink()
            found = [(change.path, change.kind) for change in driver.changes(layer_id)]
        assert found == [
            ("/etc", 0), ("/etc/a", 0), ("/gone", 2), ("/kind", 0), ("/new", 1), ("/new/file", 1),
            ("/redone", 0), ("/redone/fresh", 1), ("/redone/old", 2), ("/tree", 0), ("/tree/x", 2),
        ]  # fmt: skip

    def test_size_counts_files_once(self, driver: LayerDriver) -> None:
        base = self.layer(driver, make_tar(file("a", b"x" * 100), hard_link("b", "a"), file("d/c", b"y" * 50)))
        assert driver.size_bytes(base) == 150

    def test_changes_as_a_layer_make_the_same_tree(self, driver: LayerDriver) -> None:
        tar = make_tar(
            file("keep", b"1"), file("change", b"2"), file("drop", b"3"), file("d/x"), file("d/y"), file("whole/z"),
            directory("redone"), file("redone/old"),
        )  # fmt: skip
        base = self.layer(driver, tar)
        with self.mounted(driver, base) as (layer_id, root):
            (root / "change").write_bytes(b"changed" * 1000)
            os.chown(root / "change", 12, 34)
            (root / "drop").unlink()
            (root / "d/x").unlink()
            (root / "whole/z").unlink()
            (root / "whole").rmdir()
            (root / "redone/old").unlink()
            (root / "redone").rmdir()
            (root / "redone").mkdir()
            (root / "redone/new").symlink_to("../keep")
            (root / "n").mkdir(0o700)
            (root / ("n/" + "long" * 50)).write_bytes(b"long")
            os.link(root / "change", root / "n/hard")
            os.setxattr(root / "change", "user.note", b"kept")
            os.mkfifo(root / "n/pipe")
            with (root / "n/holes").open("wb") as holes:
                holes.truncate(50 << 20)
            before = snapshot(root)
            out = io.BytesIO()
            driver.write_changes_tar(layer_id, out)
        assert len(out.getvalue()) < 1 << 20
        with self.mounted(driver, self.layer(driver, out.getvalue(), base)) as (_, root):
            assert snapshot(root) == before

    def test_a_file_that_a_layer_cannot_hold_is_named(self, driver: LayerDriver) -> None:
        with self.mounted(driver, "") as (layer_id, root):
            (root / "d").mkdir()
            (root / "d/.wh.x").touch()
            (root / "caf\udce9").touch()
            assert [change.path for change in driver.changes(layer_id)] == ["/caf\udce9", "/d", "/d/.wh.x"]
            with pytest.raises(Unsupported, match=r"/d/\.wh\.x"):
                driver.write_changes_tar(layer_id, io.BytesIO())
