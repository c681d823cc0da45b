"""The part of the layer drivers' contract about archives: applied, refused, stacked, made again."""

import gzip
import hashlib
import os
import stat
import tarfile
from pathlib import Path

import pytest

from orlop.archive.source import ArchiveSource
from orlop.drivers.layers.driver import AppliedLayer, LayerDriver
from orlop.errors import HostFailure, Malformed
from orlop.testing.archives import (
    TestMember,
    directory,
    file,
    hard_link,
    hostile_layers,
    make_tar,
    opaque,
    symlink,
    whiteout,
)
from orlop.testing.layer_scenes import LayerScenes, new_id, paths_below

CAPABILITY = "\x01\x00\x00\x02\x00\x20" + "\x00" * 14  # cap_net_raw+ep


class LayerArchivesContract(LayerScenes):
    """Method names are the promises."""

    # Read-only layers from archives.

    def test_applying_tells_digest_and_sizes(self, driver: LayerDriver) -> None:
        tar = make_tar(directory("d"), file("d/a", b"x" * 3000), file("b", b"y"))
        layer_id = new_id()
        driver.create(layer_id, "")
        packed = self.applied(driver, layer_id, gzip.compress(tar))
        assert packed == AppliedLayer("sha256:" + hashlib.sha256(tar).hexdigest(), 3001, len(tar))
        plain_id = new_id()
        driver.create(plain_id, "")
        assert self.applied(driver, plain_id, tar) == packed

    def test_a_layer_is_read_where_it_lies_in_another_file(self, driver: LayerDriver) -> None:
        tar = make_tar(file("a", b"x" * 3000))
        place = self.scratch / "outer"
        for inner in (tar, gzip.compress(tar)):
            place.write_bytes(b"before" * 100 + inner + b"after" * 1000)
            layer_id = new_id()
            driver.create(layer_id, "")
            applied = driver.apply(layer_id, ArchiveSource(place, 600, len(inner)), self.recipe(layer_id))
            assert applied.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
            assert self.rebuilt(driver, layer_id) == tar

    def test_progress_reaches_the_end_of_a_large_archive(self, driver: LayerDriver) -> None:
        tar = make_tar(*(file(f"f{index}", b"x" * 700_000) for index in range(8)))
        (self.scratch / "t").write_bytes(tar)
        layer_id, seen = new_id(), list[int]()
        driver.create(layer_id, "")
        driver.apply(layer_id, ArchiveSource(self.scratch / "t"), self.recipe(layer_id), seen.append)
        assert seen == sorted(seen)
        assert len(tar) // 2 < seen[-1] <= len(tar)

    def test_everything_about_files_comes_through(self, driver: LayerDriver) -> None:
        tar = make_tar(
            directory("dir", mode=0o1770, uid=5, gid=6, mtime=1_234_567_890),
            file("dir/setuid", b"#!", mode=0o4755, uid=7, gid=8, mtime=1_111_111_111),
            symlink("dir/link", "/absolute/nowhere"),
            hard_link("dir/hard", "dir/setuid"),
            TestMember("null", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
            TestMember("disk", kind=tarfile.BLKTYPE, mode=0o660, device=(7, 200)),
            TestMember("pipe", kind=tarfile.FIFOTYPE, mode=0o622),
            TestMember("ping", b"elf", mode=0o755, uid=9, pax=(("SCHILY.xattr.security.capability", CAPABILITY),)),
            TestMember("note", b"n", pax=(("SCHILY.xattr.user.note", "kept"), ("mtime", "1300000000.123456789"))),
        )  # fmt: skip
        with self.mounted(driver, self.layer(driver, tar)) as (_, root):
            folder, setuid = (root / "dir").stat(), (root / "dir/setuid").stat()
            assert (folder.st_mode, folder.st_uid, folder.st_gid) == (stat.S_IFDIR | 0o1770, 5, 6)
            assert folder.st_mtime_ns == 1_234_567_890 * 10**9
            assert (setuid.st_mode, setuid.st_uid, setuid.st_gid) == (stat.S_IFREG | 0o4755, 7, 8)
            assert (setuid.st_mtime, setuid.st_nlink) == (1_111_111_111, 2)
            assert setuid.st_ino == (root / "dir/hard").stat().st_ino
            assert (root / "dir/link").readlink() == Path("/absolute/nowhere")
            null, disk, pipe = ((root / name).lstat() for name in ("null", "disk", "pipe"))
            assert (null.st_mode, null.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
            assert (disk.st_mode, disk.st_rdev) == (stat.S_IFBLK | 0o660, os.makedev(7, 200))
            assert pipe.st_mode == stat.S_IFIFO | 0o622
            assert os.getxattr(root / "ping", "security.capability") == CAPABILITY.encode()
            assert (root / "ping").stat().st_uid == 9
            assert os.getxattr(root / "note", "user.note") == b"kept"
            assert (root / "note").stat().st_mtime_ns == 1_300_000_000_123_456_789

    def test_sparse_files_stay_sparse(self, driver: LayerDriver) -> None:
        member = TestMember(
            "holes", b"begin" + b"end", pax=(("GNU.sparse.map", "0,5,104857597,3"), ("GNU.sparse.size", "104857600"))
        )
        base = self.layer(driver, make_tar(member))
        with self.mounted(driver, base) as (_, root):
            details = (root / "holes").stat()
            assert details.st_size == 104857600
            assert details.st_blocks * 512 < 1 << 20
            with (root / "holes").open("rb") as content:
                assert content.read(5) == b"begin"
                content.seek(-3, 2)
                assert content.read() == b"end"
        assert self.rebuilt(driver, base) == make_tar(member)

    def test_a_later_member_takes_the_place_of_an_earlier_one(self, driver: LayerDriver) -> None:
        tar = make_tar(
            file("a", b"first"),
            file("a", b"second"),
            directory("d"),
            file("d/x", b"gone"),
            file("d", b"now a file"),
            file("f", b"gone too"),
            directory("f"),
            file("f/x", b"there"),
            symlink("s", "f"),
            file("s", b"not through the link"),
            hard_link("a", "a"),
        )
        base = self.layer(driver, tar)
        with self.mounted(driver, base) as (_, root):
            assert (root / "a").read_bytes() == b"second"
            assert (root / "d").read_bytes() == b"now a file"
            assert (root / "s").read_bytes() == b"not through the link"
            assert sorted(path.name for path in (root / "f").iterdir()) == ["x"]
        assert self.rebuilt(driver, base) == tar

    def test_directories_that_are_not_named_are_made(self, driver: LayerDriver) -> None:
        base = self.layer(driver, make_tar(file("./x/y/z", b"1"), file("/p/q", b"2")))
        with self.mounted(driver, base) as (_, root):
            assert (root / "x/y/z").read_bytes() == b"1"
            assert (root / "p/q").read_bytes() == b"2"
            assert stat.S_IMODE((root / "x").stat().st_mode) == 0o755

    def test_directories_that_a_layer_does_not_describe_stay_as_below(self, driver: LayerDriver) -> None:
        lower = self.layer(
            driver, make_tar(directory("tmp", mode=0o1777, uid=4), file("f", b"file"), symlink("l", "tmp"))
        )
        top = self.layer(driver, make_tar(file("tmp/x/y"), file("f/z"), file("l/z")), lower)
        with self.mounted(driver, top) as (_, root):
            assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
            assert (root / "tmp").stat().st_uid == 4
            assert (root / "f").is_dir()
            assert not (root / "l").is_symlink()
            assert sorted(path.name for path in (root / "tmp").iterdir()) == ["x"]

    def test_a_link_on_the_way_leads_within_the_layer(self, driver: LayerDriver) -> None:
        tar = make_tar(directory("usr/lib"), symlink("lib", "/usr/lib"), file("lib/so", b"1"), file("lib/x/y", b"2"))
        base = self.layer(driver, tar)
        with self.mounted(driver, base) as (_, root):
            assert (root / "usr/lib/so").read_bytes() == b"1"
            assert (root / "usr/lib/x/y").read_bytes() == b"2"
            assert (root / "lib").is_symlink()
        assert self.rebuilt(driver, base) == tar

    def test_the_root_keeps_its_mode(self, driver: LayerDriver) -> None:
        with self.mounted(driver, self.layer(driver, make_tar(directory("./", mode=0o700, uid=5)))) as (_, root):
            assert stat.S_IMODE(root.stat().st_mode) == 0o755
            assert root.stat().st_uid == 0

    def test_attributes_of_overlayfs_are_not_taken_from_archives(self, driver: LayerDriver) -> None:
        lower = self.layer(
            driver, make_tar(directory("d"), file("d/below", b"1"), directory("e"), file("e/other", b"1"))
        )
        evil = TestMember(
            "d", kind=tarfile.DIRTYPE, mode=0o755,
            pax=(("SCHILY.xattr.trusted.overlay.opaque", "y"), ("SCHILY.xattr.trusted.overlay.redirect", "/e")),
        )  # fmt: skip
        assert self.shown(driver, self.layer(driver, make_tar(evil), lower)) == {"d", "d/below", "e", "e/other"}

    @pytest.mark.parametrize("why", hostile_layers())
    def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(self, driver: LayerDriver, why: str) -> None:
        layer_id = new_id()
        driver.create(layer_id, "")
        before = paths_below(self.scratch.parent)
        with pytest.raises(Malformed):
            self.applied(driver, layer_id, hostile_layers()[why])
        driver.remove(layer_id)
        driver.cleanup()
        assert list(driver.list_layers()) == []
        stayed = paths_below(self.scratch.parent) - before
        assert not {path for path in stayed if layer_id not in path and not path.endswith("/.trash")}

    def test_a_truncated_packed_archive_is_refused(self, driver: LayerDriver) -> None:
        layer_id = new_id()
        driver.create(layer_id, "")
        with pytest.raises(Malformed, match="cut off"):
            self.applied(driver, layer_id, gzip.compress(make_tar(file("a", os.urandom(5000))))[:-9])

    # Layers on layers.

    def test_whiteouts_hide_what_is_below_and_nothing_else(self, driver: LayerDriver) -> None:
        lower = self.layer(driver, make_tar(file("a"), file("b"), file("d/x"), file("d/y"), file("e/z"), file("o/1")))
        upper = make_tar(whiteout("a"), whiteout("d/x"), whiteout("e"), whiteout("never-was"), whiteout("no/such"))
        assert self.shown(driver, self.layer(driver, upper, lower)) == {"b", "d", "d/y", "no", "o", "o/1"}

    def test_an_opaque_directory_hides_all_below_and_keeps_its_own(self, driver: LayerDriver) -> None:
        lower = self.layer(driver, make_tar(file("d/x"), file("d/sub/y"), file("b")))
        for members in (
            (directory("d"), opaque("d"), file("d/new")),
            (directory("d"), file("d/new"), opaque("d")),
            (opaque("d"), file("d/new")),
        ):
            assert self.shown(driver, self.layer(driver, make_tar(*members), lower)) == {"b", "d", "d/new"}

    def test_an_opaque_root_hides_everything_below(self, driver: LayerDriver) -> None:
        lower = self.layer(driver, make_tar(file("a"), file("d/x")))
        upper = self.layer(driver, make_tar(opaque("."), file("d/new")), lower)
        top = self.layer(driver, make_tar(file("top")), upper)
        assert self.shown(driver, top) == {"d", "d/new", "top"}

    def test_a_whiteout_never_hides_what_its_own_layer_brings(self, driver: LayerDriver) -> None:
        lower = self.layer(driver, make_tar(file("a", b"old"), file("d/old"), file("e/old"), file("f/old")))
        upper = make_tar(
            file("a", b"new"), whiteout("a"),
            directory("d"), file("d/new"), whiteout("d"),
            whiteout("e"), directory("e"), file("e/new"),
            whiteout("f"), file("f/new"),
        )  # fmt: skip
        top = self.layer(driver, upper, lower)
        assert self.shown(driver, top) == {"a", "d", "d/new", "e", "e/new", "f", "f/new"}
        with self.mounted(driver, top) as (_, root):
            assert (root / "a").read_bytes() == b"new"
        assert self.rebuilt(driver, top) == upper

    def test_notes_of_aufs_are_ignored(self, driver: LayerDriver) -> None:
        tar = make_tar(directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"), file("a"))
        assert self.shown(driver, self.layer(driver, tar)) == {"a"}

    def test_a_file_may_take_the_place_of_a_directory_below_and_back(self, driver: LayerDriver) -> None:
        lower = self.layer(driver, make_tar(file("d/x"), file("f", b"1")))
        middle = self.layer(driver, make_tar(file("d", b"file"), directory("f"), file("f/y")), lower)
        top = self.layer(driver, make_tar(directory("d"), file("d/z")), middle)
        assert self.shown(driver, middle) == {"d", "f", "f/y"}
        assert self.shown(driver, top) == {"d", "d/z", "f", "f/y"}

    # The tar again.

    def test_the_tar_is_made_again_byte_for_byte(self, driver: LayerDriver) -> None:
        for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            tar = make_tar(
                directory("d"), file("d/empty"), file("d/a", b"x" * 100_000), hard_link("d/h", "d/a"),
                symlink("l", "d"), file("n" * 90, b"1" * 512), whiteout("gone"), opaque("d"),
                format=format,
            )  # fmt: skip
            for ending in (tar, tar.rstrip(b"\0") + bytes(1024 + -len(tar.rstrip(b"\0")) % 512) + b"trailing junk"):
                base = self.layer(driver, ending)
                assert self.rebuilt(driver, base) == ending

    def test_an_altered_layer_is_noticed(self, driver: LayerDriver) -> None:
        base = self.layer(driver, make_tar(file("d/a", b"x" * 1000)))
        facts = driver.describe(base)
        folder = Path(facts.get("UpperDir") or facts["SourceDir"])
        for content in (b"y" * 1000, b"x" * 999):
            (folder / "d/a").write_bytes(content)
            with pytest.raises(HostFailure, match="d/a"):
                self.rebuilt(driver, base)
        (folder / "d/a").unlink()
        with pytest.raises(HostFailure, match="d/a"):
            self.rebuilt(driver, base)
