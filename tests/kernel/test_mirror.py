"""Mirrors on real file systems: all that root can make, memory that is mapped, mounts below, disks that are full."""

import errno
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orlop.store import mirror_moments
from orlop.store.mirror_words import BLOCK
from support.disks import mounted_disk
from support.mirrors import mirroring
from support.trees import describe, write_everything

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, mounts")

SIZES = {"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 128 << 20}


@contextmanager
def disk(folder: Path, kind: str) -> Iterator[Path]:
    folder.mkdir()
    with mounted_disk(folder, SIZES[kind], kind) as mounted:
        yield mounted


def test_everything_that_a_tree_can_hold(tmp_path: Path) -> None:
    write_everything(tmp_path / "source")
    with ExitStack() as disks:
        for kind in SIZES:
            target = disks.enter_context(disk(tmp_path / kind, kind)) / "copy"
            with mirroring(tmp_path / "source", target) as mirror:
                assert mirror.lost() == frozenset()
                mirror.bring()
                mirror.verify()
            assert describe(target) == describe(tmp_path / "source")


WRITER = """
import mmap, os, random, sys
pages = [mmap.mmap(os.open(path, os.O_RDWR), 0) for path in sys.argv[1:]]
print("begun", flush=True)
while True:
    page = random.choice(pages)
    page[random.randrange(len(page))] = random.randrange(256)
"""


@pytest.mark.parametrize("kind", SIZES)
def test_what_is_written_through_mapped_memory_is_there_once_its_writer_stands_still(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer never calls the kernel: its files change without a call, and mostly without a new time."""
    monkeypatch.setattr(mirror_moments, "_FIRM_NS", 0)
    monkeypatch.setattr(mirror_moments, "_JUST_NS", 0)
    with disk(tmp_path / kind, kind) as mounted:
        source = mounted / "source"
        source.mkdir()
        files = [source / str(number) for number in range(4)]
        for number, file in enumerate(files):
            file.write_bytes(os.urandom((number + 1) * 300_000))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, *files], stdout=subprocess.PIPE)
        try:
            assert writer.stdout is not None and writer.stdout.readline()
            with mirroring(source, tmp_path / "target") as mirror:
                for _ in range(3):
                    for _ in range(3):
                        os.kill(writer.pid, signal.SIGCONT)
                        mirror.bring()
                    os.kill(writer.pid, signal.SIGSTOP)
                    os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
                    assert mirror.bring().unsettled == 0
                    mirror.verify()
                    assert describe(tmp_path / "target") == describe(source)
        finally:
            writer.kill()
            writer.communicate()


@pytest.mark.parametrize("kind", SIZES)
def test_a_page_that_is_dirty_already_is_not_missed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_moments, "_FIRM_NS", 0)
    monkeypatch.setattr(mirror_moments, "_JUST_NS", 0)
    with disk(tmp_path / kind, kind) as mounted:
        file = mounted / "file"
        file.write_bytes(bytes(8192))
        with (
            file.open("r+b") as opened,
            mmap.mmap(opened.fileno(), 0) as page,
            mirroring(mounted, tmp_path / "target", passed_over=["lost+found"]) as mirror,
        ):
            for value in range(1, 9):
                page[5000] = value
                assert mirror.bring().unsettled == 0
                assert (tmp_path / "target/file").read_bytes()[5000] == value
            assert mirror.bring().changed == 0


def test_times_of_whole_seconds_leave_nothing_unsettled(tmp_path: Path) -> None:
    """ext4 with small inodes: a second write in the same second changes no time."""
    with mounted_disk(tmp_path, 16 << 20, "ext4", ("-I", "128")) as mounted:
        source = mounted / "source"
        source.mkdir()
        with mirroring(source, tmp_path / "target") as mirror:
            for number in range(3):
                (source / "file").write_text(str(number))
                assert mirror.bring().unsettled == 0
                assert (tmp_path / "target/file").read_text() == str(number)


def test_a_full_disk_is_told_with_the_file_it_was_full_at(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (source / "folder/large").write_bytes(os.urandom(20 * BLOCK))
    for number in range(50):
        (source / str(number)).write_bytes(os.urandom(BLOCK))
    with mounted_disk(tmp_path, 16 << 20) as mounted:
        with pytest.raises(OSError, match="No space left") as raised, mirroring(source, mounted) as mirror:
            mirror.bring()
        assert raised.value.errno == errno.ENOSPC and raised.value.filename


def test_what_is_mounted_below_is_left_out_and_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder/mounted").mkdir(parents=True)
    (source / "file").write_text("below the mount")
    (source / "folder/mounted/hidden").write_text("below the mount")
    with mirroring(source, tmp_path / "target") as mirror:
        mirror.bring()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "folder/mounted"], check=True)
        subprocess.run(["mount", "--bind", "/etc/hostname", source / "file"], check=True)
        try:
            (source / "folder/mounted/elsewhere").touch()
            missed = mirror.bring().missed
            mirror.verify()
        finally:
            subprocess.run(["umount", source / "folder/mounted", source / "file"], check=True)
        assert sorted(path for path, _ in missed.entries) == ["file", "folder/mounted"]
        assert sorted(path.name for path in (tmp_path / "target").rglob("*")) == ["folder", "mounted"]
        mirror.bring()
        mirror.verify()
    assert describe(tmp_path / "target") == describe(source)


def test_subvolumes_whose_numbers_are_alike(tmp_path: Path) -> None:
    with disk(tmp_path / "btrfs", "btrfs") as mounted:
        for name in ("one", "two"):
            subprocess.run(["btrfs", "-q", "subvolume", "create", mounted / name], check=True)
            (mounted / name / "file").write_text(name)
        with mirroring(mounted, tmp_path / "target") as mirror:
            mirror.bring()
            mirror.verify()
        assert describe(tmp_path / "target") == describe(mounted)
