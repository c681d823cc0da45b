"""Volumes out as archives and in again: equal in everything, and readable by other tar programs, both ways."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from orlop.engine.volume_archives import Imported, ImportWish
from orlop.errors import Conflict, HostFailure, Malformed, NotFound, OrlopError
from orlop.kernel.mounts import MNT_DETACH, MS_BIND, mount, mounts_at_or_below, unmount
from orlop.model.volume import ANONYMOUS_LABEL
from orlop.testing.archives import directory, file, hard_link, make_tar, symlink
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


def exported(world: VolumeWorld, name: str = "data") -> Path:
    path = world.root / f"{name}.tar"
    with path.open("wb", buffering=0) as out:
        world.volumes.archives.export(name, out)
    return path


@contextmanager
def arriving(data: bytes) -> Iterator[int]:
    """A pipe that another thread fills, in pieces, and closes."""
    read_end, write_end = os.pipe()

    def fill() -> None:
        try:
            for start in range(0, len(data), 50_001):
                os.write(write_end, data[start : start + 50_001])
        except BrokenPipeError:
            pass
        finally:
            os.close(write_end)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield read_end
    finally:
        os.close(read_end)
        thread.join()


def imported(world: VolumeWorld, data: bytes, name: str = "again", **wish: dict[str, str]) -> Imported:
    with arriving(data) as fd:
        return world.volumes.archives.import_volume(ImportWish(name, **wish), fd)  # type: ignore[arg-type]


@pytest.fixture
def full(world: VolumeWorld) -> VolumeWorld:
    """A volume `data` with everything in it."""
    world.volumes.create("data", "", None, {"of": "web", "empty": "", "ümläut": "\n="})
    write_everything(world.data("data"))
    return world


def test_what_goes_out_comes_in_equal(full: VolumeWorld) -> None:
    write_socket(full.data("data") / "socket")
    archive = exported(full).read_bytes()
    (full.data("data") / "socket").unlink()
    os.utime(full.data("data"), ns=(0, full.data("data").stat().st_mtime_ns))
    full.volumes.remove("data")
    found = imported(full, archive, "")
    retired = full.root / "volumes/.retired" / full.volumes.list_retired()[0].id / "_data"
    here, there = describe(full.data("data")), describe(retired)
    there["."]["mtime"] = here["."]["mtime"]  # the socket's coming and going changed it
    assert here == there
    assert found.volume.name == "data" and found.volume.labels == {"of": "web", "empty": "", "ümläut": "\n="}
    assert found.volume == full.volumes.get("data")
    assert found.arrived.lost_xattrs == () and found.arrived.members == len(there)


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.compress],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
def test_a_packed_archive_is_as_good(full: VolumeWorld, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(exported(full).read_bytes())
    imported(full, packed)
    assert describe(full.data("again")) == describe(full.data("data"))
    with pytest.raises(Malformed):
        imported(full, packed[:-7], "cut")
    with pytest.raises(Malformed):
        imported(full, packed[: len(packed) // 2], "cut")
    assert full.names() == ["again", "data"]


def test_gnu_tar_reads_it(full: VolumeWorld, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (full.data("data") / "-rf").unlink()  # of before 1970, which it complains of
    command = ["tar", "x", "-p", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", target]
    done = subprocess.run([*command, "-f", exported(full)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert describe(target) == describe(full.data("data"))


def test_pythons_tarfile_reads_it(full: VolumeWorld) -> None:
    with tarfile.open(exported(full)) as tar:
        names = tar.getnames()
        assert names[0] == "." and tar.getmember(".").uid == 42 and tar.getmember(".").mode == 0o2750
        assert set(names) == {"." if name == "." else f"./{name}" for name in describe(full.data("data"))}
        content = tar.extractfile("./holes")
        assert content and content.read() == (full.data("data") / "holes").read_bytes()
        assert tar.getmember("./-rf").mtime == -5.5


def test_holes_take_no_room_in_it(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    with (world.data("data") / "huge").open("wb") as huge:
        huge.seek(500 << 20)
        huge.write(b"middle")
        huge.truncate(1 << 30)
    archive = exported(world)
    assert archive.stat().st_size < 100_000
    imported(world, archive.read_bytes())
    copied = (world.data("again") / "huge").stat()
    assert copied.st_size == 1 << 30 and copied.st_blocks * 512 < 1 << 20
    with (world.data("again") / "huge").open("rb") as huge:
        huge.seek(500 << 20)
        assert huge.read(8) == b"middle\0\0"


POSIX = ["--format=posix", "--xattrs", "--xattrs-include=*"]
FORMS = [
    [*POSIX, "--xattrs-exclude=system.*", "--acls", "-S"],
    [*POSIX, "-S"],
    [*POSIX, "-S", "--sparse-version=0.0"],
    [*POSIX, "-S", "--sparse-version=0.1"],
    ["--format=gnu", "-S"],
    ["--format=oldgnu", "-S"],
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join([form[0], *form[3:]]))
def test_what_gnu_tar_writes_comes_in(full: VolumeWorld, form: list[str]) -> None:
    top = full.data("data")
    (top / "-rf").unlink()  # of before 1970, which not every format can say
    command = ["tar", "c", *form, "--numeric-owner", "-C", top, "."]
    imported(full, subprocess.run(command, capture_output=True, check=True).stdout)
    xattrs = "--xattrs" in form
    here, there = describe(full.data("again"), xattrs), describe(top, xattrs)
    if not xattrs:  # nor parts of seconds
        for facts in (*here.values(), *there.values()):
            facts["mtime"] //= 10**9
    assert here == there


def test_ten_thousand_files_travel(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="orlop-", dir="/dev/shm") as memory:
        world = VolumeWorld(tmp_path, Path(memory))
        send_ten_thousand(world)
        world.stop()


def send_ten_thousand(world: VolumeWorld) -> None:
    world.volumes.create("data", "", None, None)
    top = world.data("data")
    for folder in range(100):
        (top / f"{folder}").mkdir()
        for number in range(100):
            (top / f"{folder}/{number}").write_bytes(b"%d" % number)
    found = imported(world, exported(world).read_bytes())
    assert found.arrived.members == 10_101 and found.arrived.size_bytes == 100 * (10 * 1 + 90 * 2)
    copied = world.volumes.copies.copy("again", "third")
    assert copied.entries == 10_100 and copied.size_bytes == found.arrived.size_bytes
    there = world.data("third")
    assert {path.relative_to(there) for path in there.rglob("*")} == {path.relative_to(top) for path in top.rglob("*")}
    assert (there / "99/99").read_bytes() == b"99"


def test_what_pythons_tarfile_writes_comes_in(full: VolumeWorld) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(full.data("data"), "some/where")
    found = imported(full, out.getvalue())
    assert found.volume.labels is None and found.volume.options is None
    assert (full.data("again") / "some/where/dir/file").read_bytes() == b"content"


def test_any_tar_needs_a_name(world: VolumeWorld) -> None:
    with pytest.raises(Malformed, match="does not say the volume's name"):
        imported(world, make_tar(file("a", b"x")), "")
    assert imported(world, make_tar(file("a", b"x")), "again").volume.name == "again"


def test_a_tar_of_nothing_makes_an_empty_volume(world: VolumeWorld) -> None:
    assert imported(world, bytes(10_240)).arrived.members == 0
    assert list(world.data("again").iterdir()) == []


def test_a_name_that_is_taken_is_refused_before_anything_is_read(full: VolumeWorld) -> None:
    archive = exported(full).read_bytes()
    with pytest.raises(Conflict, match="exists already"):
        imported(full, archive, "")
    with pytest.raises(Malformed):
        imported(full, archive, "../x")


def test_the_caller_knows_better_than_the_archive(full: VolumeWorld) -> None:
    found = imported(full, exported(full).read_bytes(), labels={"of": "me", "more": "1"})
    assert found.volume.labels == {"of": "me", "more": "1", "empty": "", "ümläut": "\n="}
    with pytest.raises(NotFound, match="nosuch"), arriving(exported(full).read_bytes()) as fd:
        full.volumes.archives.import_volume(ImportWish("other", "nosuch"), fd)


def test_secrets_and_places_do_not_travel(world: VolumeWorld, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    options = {"type": "none", "device": str(tmp_path / "share"), "o": "bind,password=hush"}
    world.volumes.create("data", "", options, {ANONYMOUS_LABEL: "", "a": "b"})
    with pytest.MonkeyPatch.context() as patch:  # no bind mount understands the word
        patch.setattr(world.driver, "attach", lambda name, use: tmp_path / "share")
        archive = exported(world).read_bytes()
    assert b"hush" not in archive and b"omitted_options" in archive
    found = imported(world, archive)
    assert found.omitted == ("o",) and set(found.left_out) == {"type", "device"}
    assert found.volume.labels == {"a": "b"} and not found.volume.options


@pytest.mark.parametrize(
    "hostile",
    [
        make_tar(file("../out", b"x")),
        make_tar(symlink("way", "/etc"), file("way/out", b"x")),
        make_tar(symlink("way", "../.."), file("way/out", b"x")),
        make_tar(hard_link("way", "../../journal.db")),
        make_tar(hard_link("way", "nowhere")),
        make_tar(file("a", b"x"))[:-1024],
        make_tar(file("a", b"x" * 1000))[:700],
        make_tar(file("a", b"x"))[:512],
        make_tar(file("a", b"x"), directory("b"))[:1024] + b"rubbish" * 200,
        b"",
        b"nonsense" * 1000,
    ],
    ids=range(11),
)
def test_hostile_and_broken_archives_leave_nothing(world: VolumeWorld, hostile: bytes) -> None:
    before = sorted(path for path in world.root.rglob("*"))
    try:
        imported(world, hostile)
    except OrlopError as error:
        assert isinstance(error, Malformed), error
        assert sorted(path for path in world.root.rglob("*")) == before
    else:  # a link inside its root is no crime: what is written through it stays inside
        assert not Path("/etc/out").exists() and not (world.root / "out").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "journal").mkdir()
    with mounted_disk(tmp_path / "disk", 16 << 20) as disk:
        world = VolumeWorld(tmp_path / "journal", disk)
        with pytest.raises(HostFailure, match=r"No space left on device.*Free some space"):
            imported(world, make_tar(*[file(f"f{number}", b"x" * 1_000_000) for number in range(30)]))
        assert world.names() == [] and world.leftovers() == []
        world.stop()


def test_what_is_mounted_below_is_not_exported(world: VolumeWorld, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share/big").write_text("not ours")
    world.volumes.create("data", "", None, None)
    place = world.data("data") / "share"
    place.mkdir()
    mount(str(tmp_path / "share"), place, "", MS_BIND)
    try:
        with tarfile.open(exported(world)) as tar:
            assert tar.getnames() == [".", "./share"]
    finally:
        unmount(place, MNT_DETACH)


def test_a_reader_who_has_gone_ends_the_export(full: VolumeWorld) -> None:
    (full.data("data") / "big").write_bytes(b"x" * (4 << 20))
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as out, pytest.raises(BrokenPipeError):
        full.volumes.archives.export("data", out)
