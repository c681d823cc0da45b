"""Directories brought to another place in passes. What only root can make: tests/kernel/test_mirror.py."""

import os
import random
import shutil
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import HostFailure
from orlop.store.mirror import Mirror, MirrorProgress
from orlop.store.mirror_moments import Moment
from orlop.store.mirror_words import BLOCK, SMALL
from orlop.store.mirror_worker import MirrorAside
from support.mirrors import mirroring
from support.trees import describe, write_holes, write_socket

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def brought(mirror: Mirror, source: Path, target: Path) -> None:
    """Nobody writes: one pass, and they are the same."""
    assert mirror.bring().unsettled == 0
    assert described(target) == described(source)


def described(top: Path) -> dict[str, object]:
    found = describe(top)
    return {
        path: {key: value for key, value in facts.items() if key != "has holes"} | {"same as": facts.get("same as")}
        for path, facts in found.items()
    }


def test_an_empty_directory(source: Path, target: Path) -> None:
    with mirroring(source, target) as mirror:
        brought(mirror, source, target)
        assert mirror.verify().entries == 1


def test_what_was_brought_is_not_sent_again(source: Path, target: Path) -> None:
    (source / "small").write_text("x")
    (source / "large").write_bytes(os.urandom(3 * BLOCK + 17))
    with mirroring(source, target) as mirror:
        first = mirror.bring()
        assert (first.entries, first.sent_bytes) == (2, 3 * BLOCK + 18)
        second = mirror.bring()
        assert (second.entries, second.changed, second.sent_bytes) == (2, 0, 0)
        checked = mirror.verify()
        assert (checked.entries, checked.compared, checked.read_bytes) == (3, 3, 3 * BLOCK + 18)
        again = mirror.verify()
        assert (again.entries, again.read_bytes) == (3, 0), "what has not changed since was compared again"


def test_of_a_large_file_only_what_is_new_is_sent(source: Path, target: Path) -> None:
    large = source / "large"
    write_holes(large, size=80 * BLOCK)
    with mirroring(source, target) as mirror:
        mirror.bring()
        with large.open("r+b") as file:
            file.seek(70 * BLOCK + 5)
            file.write(b"new")
        assert 0 < mirror.bring().sent_bytes <= BLOCK
        mirror.verify()
    assert large.read_bytes() == (target / "large").read_bytes()


@pytest.mark.parametrize("sizes", [(0, 1), (SMALL, SMALL + 1), (SMALL + 1, SMALL), (5 * BLOCK, 3), (3, 5 * BLOCK)])
def test_a_file_that_grows_and_shrinks(source: Path, target: Path, sizes: tuple[int, int]) -> None:
    with mirroring(source, target) as mirror:
        for size in (*sizes, *sizes):
            (source / "file").write_bytes(os.urandom(size))
            brought(mirror, source, target)
            mirror.verify()


def test_a_file_that_becomes_a_hole(source: Path, target: Path) -> None:
    file = source / "file"
    with mirroring(source, target) as mirror:
        for content in (b"small", os.urandom(3 * BLOCK + 9), b"x" * (BLOCK + 1)):
            file.write_bytes(content)
            brought(mirror, source, target)
            os.truncate(file, 0)
            os.truncate(file, 4 * BLOCK + 3)
            brought(mirror, source, target)
            mirror.verify()
    assert (target / "file").stat().st_blocks * 512 < BLOCK


def test_holes_stay_holes(source: Path, target: Path) -> None:
    write_holes(source / "holes")
    write_holes(source / "all-hole", pieces=0)
    with mirroring(source, target) as mirror:
        brought(mirror, source, target)
        mirror.verify()
    for name in ("holes", "all-hole"):
        assert (target / name).stat().st_blocks <= (source / name).stat().st_blocks + 8


def test_what_was_renamed_is_not_sent_again(source: Path, target: Path) -> None:
    (source / "log").write_bytes(os.urandom(2 * BLOCK))
    (source / "log.1").write_bytes(os.urandom(3 * BLOCK))
    (source / "folder/below").mkdir(parents=True)
    (source / "folder/below/file").write_bytes(os.urandom(BLOCK))
    with mirroring(source, target) as mirror:
        mirror.bring()
        (source / "log.1").rename(source / "log.2")
        (source / "log").rename(source / "log.1")
        (source / "log").write_text("new")
        (source / "folder").rename(source / "another")
        (source / "another/below").rename(source / "folder")
        assert mirror.bring().sent_bytes == 3
        assert described(target) == described(source)
        mirror.verify()


def test_things_that_change_places_and_kinds(source: Path, target: Path) -> None:
    (source / "a").mkdir()
    (source / "a/file").write_text("in a")
    (source / "b").write_text("b")
    (source / "c").symlink_to("b")
    os.mkfifo(source / "d")
    with mirroring(source, target) as mirror:
        brought(mirror, source, target)
        names = list("abcd")
        for _ in range(3):
            for number, name in enumerate(names):
                (source / name).rename(source / f"{number}")
            names = names[1:] + names[:1]
            for number, name in enumerate(names):
                (source / f"{number}").rename(source / name)
            brought(mirror, source, target)
        mirror.verify()


def test_hard_links_come_and_go(source: Path, target: Path) -> None:
    (source / "one").write_bytes(os.urandom(2 * BLOCK))
    os.link(source / "one", source / "two")
    with mirroring(source, target) as mirror:
        brought(mirror, source, target)
        os.link(source / "one", source / "three")
        (source / "two").unlink()
        (source / "two").write_text("another")
        brought(mirror, source, target)
        (source / "one").unlink()
        os.link(source / "two", source / "one")
        brought(mirror, source, target)
        mirror.verify()


def test_sockets_are_left_out_and_named(source: Path, target: Path) -> None:
    write_socket(source / "listening")
    (source / "file").touch()
    with mirroring(source, target) as mirror:
        assert [path for path, _ in mirror.bring().missed.entries] == ["listening"]
        mirror.verify()
    assert [path.name for path in target.iterdir()] == ["file"]


def test_what_differs_there_is_named(source: Path, target: Path) -> None:
    (source / "folder").mkdir()
    (source / "folder/file").write_bytes(b"a" * (2 * BLOCK))
    (source / "folder/file").chmod(0o640)
    for spoil, why in (
        (lambda file: file.write_bytes(b"a" * BLOCK + b"b" * BLOCK), "folder/file.*(bytes differ|time)"),
        (lambda file: file.unlink(), "folder.*(missing|time)"),
        (lambda file: file.chmod(0o644), "folder/file.*mode"),
        (lambda file: (file.parent / "more").touch(), "folder .*(entries|time)"),
        (lambda file: os.link(file, file.parent.parent / "other"), "(names|top directory)"),
    ):
        shutil.rmtree(target, ignore_errors=True)
        with pytest.raises(HostFailure, match=why), mirroring(source, target) as mirror:
            mirror.bring()
            spoil(target / "folder/file")
            mirror.verify()


def test_bytes_that_differ_are_found_also_where_the_times_do_not_tell(source: Path, target: Path) -> None:
    (source / "file").write_bytes(b"?" * (3 * BLOCK))
    with pytest.raises(HostFailure, match=r"file.*bytes differ"), mirroring(source, target) as mirror:
        mirror.bring()
        before = (target / "file").stat()
        with (target / "file").open("r+b") as file:
            file.seek(2 * BLOCK + 7)
            file.write(b"!")
        os.utime(target / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
        mirror.verify()


def test_what_progress_raises_ends_it(source: Path, target: Path) -> None:
    for number in range(600):
        (source / str(number)).touch()
    seen: list[MirrorProgress] = []

    def stop(progress: MirrorProgress) -> None:
        seen.append(progress)
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"), mirroring(source, target, progress=stop) as mirror:
        mirror.bring()
    assert len(seen) == 1 and 0 < seen[0].entries < 600


def test_paths_longer_than_the_kernel_takes(source: Path, target: Path) -> None:
    fd = os.open(source, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 250, dir_fd=fd)
        fd, above = os.open("d" * 250, os.O_RDONLY, dir_fd=fd), fd
        os.close(above)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    with mirroring(source, target) as mirror:
        assert mirror.bring().entries == 31
        os.rename("file", "renamed", src_dir_fd=fd, dst_dir_fd=fd)
        assert mirror.bring().unsettled == 0
        assert mirror.verify().entries == 32
    os.close(fd)


def test_attributes_that_do_not_fit_into_one_answer(source: Path, target: Path) -> None:
    for number in range(300):
        (source / str(number)).touch()
        os.setxattr(source / str(number), "user.stream", bytes(3900))
    with mirroring(source, target) as mirror:
        mirror.bring()
        assert mirror.verify().entries == 301


def test_a_change_that_is_yet_to_come_is_settled() -> None:
    """The clock was wrong once."""
    now = time.time_ns()
    moment = Moment(now, keeps_times=True)

    def changed_at(ns: int) -> os.stat_result:
        return SimpleNamespace(st_ctime_ns=ns, st_mtime_ns=1, st_size=1)  # type: ignore[return-value]

    for later, settled in ((-5, True), (5, False), (10**9 * 3600, True)):
        assert moment.is_settled(changed_at(now + later), changed_at(now + later)) is settled


# Random trees, changed at random between passes


def is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def change(top: Path, chance: random.Random) -> None:
    paths = [*top.rglob("*")]
    folders = [top, *(path for path in paths if is_folder(path))]
    folder = chance.choice(folders)
    name = chance.choice("abcdef")
    path = folder / name
    act = chance.randrange(12)
    if act <= 2:
        if not path.exists() and not path.is_symlink():
            path.write_bytes(chance.randbytes(chance.choice([0, 1, 100, SMALL, SMALL + 1, BLOCK, 2 * BLOCK + 1])))
    elif act == 3:
        if path.is_file() and not path.is_symlink():
            with path.open("r+b") as file:
                file.seek(chance.randrange(3 * BLOCK))
                file.write(chance.randbytes(10))
    elif act == 4:
        if not path.exists() and not path.is_symlink():
            path.mkdir()
    elif act == 5:
        if not path.exists() and not path.is_symlink():
            path.symlink_to(chance.choice("abc"))
    elif act == 6 and paths:
        old = chance.choice(paths)
        replaces = path.exists() or path.is_symlink()
        if old not in (path, *path.parents) and not (replaces and (is_folder(old) or is_folder(path))):
            old.rename(path)
    elif act == 7 and paths:
        old = chance.choice(paths)
        if not is_folder(old) and not path.exists() and not path.is_symlink():
            os.link(old, path, follow_symlinks=False)
    elif act == 8 and paths:
        old = chance.choice(paths)
        shutil.rmtree(old) if is_folder(old) else old.unlink()
    elif act == 9 and paths:
        old = chance.choice(paths)
        if not old.is_symlink():
            old.chmod(chance.choice([0o700, 0o755, 0o711]))
    elif act == 10 and paths:
        os.utime(chance.choice(paths), ns=(1, chance.randrange(2**60)), follow_symlinks=False)
    elif act == 11 and path.is_file() and not path.is_symlink():
        os.truncate(path, chance.randrange(3 * BLOCK))


def tried(top: Path, seed: int, counts: list[int]) -> None:
    source, target = top / "source", top / "target"
    source.mkdir()
    chance = random.Random(seed)
    with mirroring(source, target) as mirror:
        for count in counts:
            for _ in range(count):
                change(source, chance)
            brought(mirror, source, target)
            mirror.verify()


CHANGES = (st.integers(0, 2**32), st.lists(st.integers(0, 25), min_size=1, max_size=4))


@settings(max_examples=8, deadline=None)
@given(*CHANGES)
def test_whatever_changes_between_passes_is_there_after_the_next(seed: int, counts: list[int]) -> None:
    with TemporaryDirectory() as top:
        tried(Path(top), seed, counts)


@settings(max_examples=50, deadline=None)
@given(*CHANGES)
def test_the_same_where_times_tell_nothing(seed: int, counts: list[int]) -> None:
    with TemporaryDirectory(dir=IN_MEMORY) as top:
        tried(Path(top), seed, counts)


def tried_while_it_changes(top: Path, seed: int) -> None:
    source, target = top / "source", top / "target"
    source.mkdir()
    chance = random.Random(seed)
    for _ in range(40):
        change(source, chance)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            change(source, chance)

    with mirroring(source, target) as mirror:
        disturber = threading.Thread(target=disturb, name="disturber")
        disturber.start()
        try:
            for _ in range(6):
                mirror.bring()
        finally:
            stop.set()
            disturber.join()
        brought(mirror, source, target)
        mirror.verify()


@pytest.mark.parametrize(("folder", "times"), [(None, 2), (IN_MEMORY, 6)])
def test_whatever_changes_during_passes_is_there_once_it_stands_still(folder: str | None, times: int) -> None:
    for seed in range(times):
        with TemporaryDirectory(dir=folder) as top:
            tried_while_it_changes(Path(top), seed)


# In processes of their own


def test_the_sender_in_a_child(source: Path, target: Path, tmp_path: Path) -> None:
    (source / "a \udcff name").write_bytes(os.urandom(BLOCK + 1))
    (source / "folder").mkdir()
    write_socket(source / "listening")
    with mirroring(source, target, kind=MirrorAside, scratch=tmp_path, passed_over=["folder"]) as mirror:
        assert isinstance(mirror.lost(), frozenset)
        done = mirror.bring()
        assert (done.sent_bytes, done.missed.count) == (BLOCK + 1, 1)
        assert mirror.verify().entries == 2
    assert (target / "a \udcff name").read_bytes() == (source / "a \udcff name").read_bytes()
    assert not (target / "folder").exists()


@pytest.mark.parametrize("kind", [Mirror, MirrorAside])
def test_no_place_for_the_notes_is_told_with_the_way_out(
    kind: "type[Mirror | MirrorAside]", source: Path, target: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(HostFailure, match=r"could not be noted.*disk with the notes"),
        mirroring(source, target, kind=kind, scratch=tmp_path / "nowhere"),
    ):
        pass


def test_errors_of_a_child_are_told_apart(source: Path, target: Path) -> None:
    (source / "file").write_text("x")
    with pytest.raises(HostFailure, match=r"file.*bytes differ"), mirroring(source, target, kind=MirrorAside) as mirror:
        mirror.bring()
        before = (target / "file").stat()
        (target / "file").write_text("y")
        os.utime(target / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
        mirror.verify()
