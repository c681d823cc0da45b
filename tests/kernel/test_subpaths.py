"""Parts of volumes as mounts' sources: never outside the volume, whoever writes to it meanwhile."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.engine.subpaths import Subpaths
from orlop.errors import Malformed, NotFound
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

USE = "a" * 64


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    base = tmp_path / "_data"
    (base / "real" / "deep").mkdir(parents=True)
    (base / "real" / "deep" / "note").write_text("inside")
    (base / "link").symlink_to("real/deep")
    (base / "out").symlink_to("/etc")
    (base / "up").symlink_to("../..")
    yield base
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


@pytest.fixture
def subpaths(tmp_path: Path) -> Subpaths:
    return Subpaths(tmp_path / "subpaths")


@pytest.mark.parametrize("subpath", ["real/deep", "link", "real/../link"])
def test_a_directory_is_pinned_and_let_go(base: Path, subpaths: Subpaths, subpath: str) -> None:
    place = subpaths.pin(base, subpath, USE)
    assert (place / "note").read_text() == "inside"
    assert place == subpaths.pin(base, subpath, USE), "again is the same"
    for _ in range(2):
        subpaths.unpin(USE)
    assert not place.exists() and mounts_at_or_below(place.parent) == []
    assert (base / "real" / "deep" / "note").read_text() == "inside"


def test_a_file_is_pinned_as_a_file(base: Path, subpaths: Subpaths) -> None:
    place = subpaths.pin(base, "real/deep/note", USE)
    place.write_text("written through")
    assert (base / "real" / "deep" / "note").read_text() == "written through"
    subpaths.unpin(USE)
    assert (base / "real" / "deep" / "note").read_text() == "written through"


@pytest.mark.parametrize("subpath", ["out", "up", "..", "real/../../x", "out/passwd"])
def test_what_leads_out_is_refused(base: Path, subpaths: Subpaths, subpath: str) -> None:
    with pytest.raises(Malformed, match="path concatenation escapes the base directory"):
        subpaths.pin(base, subpath, USE)


def test_what_is_not_there_is_not_made(base: Path, subpaths: Subpaths) -> None:
    with pytest.raises(NotFound, match="cannot access path"):
        subpaths.pin(base, "missing", USE)
    assert not (base / "missing").exists()


def test_what_was_pinned_stays_when_a_link_takes_its_place(base: Path, subpaths: Subpaths) -> None:
    place = subpaths.pin(base, "real", USE)
    (base / "real").rename(base / "aside")
    (base / "real").symlink_to("/etc")
    assert (place / "deep" / "note").read_text() == "inside"


def test_a_link_swapped_in_at_any_moment_never_leads_out(base: Path, subpaths: Subpaths) -> None:
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (base / "real").rename(base / "aside")
            (base / "real").symlink_to("/etc")
            (base / "real").unlink()
            (base / "aside").rename(base / "real")

    attacker = threading.Thread(target=swap)
    attacker.start()
    pinned = tries = 0
    try:
        while tries < 300 or (not pinned and tries < 30_000):
            tries += 1
            try:
                place = subpaths.pin(base, "real", USE)
            except (Malformed, NotFound):
                continue
            pinned += 1
            assert not (place / "passwd").exists()
    finally:
        stop.set()
        attacker.join()
    subpaths.unpin(USE)
    assert pinned


def test_at_start_only_running_uses_stay(base: Path, subpaths: Subpaths) -> None:
    places = [subpaths.pin(base, "real", use * 64) for use in "ab"]
    subpaths.unpin_others({"b" * 64})
    assert [place.exists() for place in places] == [False, True]
    assert len(mounts_at_or_below(places[0].parent)) == 1
