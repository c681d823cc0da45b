"""The mount table as it is read: never an old one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel.mount_watch import MountWatch
from orlop.kernel.mounts import MNT_DETACH, bind, is_mount_point, mounts_at_or_below, unmount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for entry in mounts_at_or_below(tmp_path):
        unmount(entry.mount_point, MNT_DETACH)


@pytest.mark.parametrize(
    "name",
    ["plain", "with space", "tab\tand\nline", "back\\slash", "ünï", "#hash", "a\rb", "a\x0bb", "a\u2028b", "a\x85b"],
)
def test_a_mount_is_seen_at_once_and_no_longer_than_it_is_there(place: Path, name: str) -> None:
    target = place / name
    target.mkdir()
    watch = MountWatch()
    for _ in range(3):
        assert not is_mount_point(target) and not watch.may_show(str(target))
        bind(place, target)
        assert watch.may_show(str(place)) and watch.may_show(str(target))
        assert is_mount_point(target)
        assert [entry.mount_point for entry in mounts_at_or_below(place)] == [str(target)]
        unmount(target)
        assert mounts_at_or_below(place) == []
    watch.close()


def test_a_move_of_the_directory_above_is_seen(place: Path) -> None:
    (place / "old" / "below").mkdir(parents=True)
    bind(place / "old", place / "old" / "below")
    assert is_mount_point(place / "old" / "below")
    (place / "old").rename(place / "new")
    assert is_mount_point(place / "new" / "below")
    assert not is_mount_point(place / "old" / "below")
    assert len(mounts_at_or_below(place / "new")) == 1
