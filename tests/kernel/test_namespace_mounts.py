"""Another mount in the place of one that somebody else's namespace has."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel import mounts
from orlop.kernel.mounts import MNT_DETACH, MountEntry, mount, open_tree, read_mounts, unmount
from orlop.kernel.namespace_mounts import replace_mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


class Elsewhere:
    """A process in a mount namespace of its own, with `old` mounted on `at`."""

    def __init__(self, place: Path) -> None:
        self.at = place / "at"
        script = f"mount --bind {place / 'old'} {self.at}; echo; exec sleep 1000"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.process.stdout.readline()

    def mounted(self) -> list[MountEntry]:
        table = read_mounts(f"/proc/{self.process.pid}/mountinfo")
        return [entry for entry in table if entry.mount_point == str(self.at)]

    def names(self) -> list[str]:
        return os.listdir(f"/proc/{self.process.pid}/root{self.at}")

    def replace(self, tree: int, mount_id: int, at: Path | None = None) -> None:
        namespace = os.open(f"/proc/{self.process.pid}/ns/mnt", os.O_RDONLY)
        try:
            replace_mount(namespace, tree, str(at or self.at), mount_id, 20)
        finally:
            os.close(namespace)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name in ("old", "new", "at"):
        (tmp_path / name).mkdir()
    for name in ("old", "new"):
        mount(name, tmp_path / name, "tmpfs")
        (tmp_path / name / f"in-{name}").touch()
    yield tmp_path
    for name in ("old", "new"):
        unmount(tmp_path / name, MNT_DETACH)


@pytest.fixture
def elsewhere(place: Path) -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(place)
    yield elsewhere
    elsewhere.process.kill()
    elsewhere.process.wait()
    assert elsewhere.process.stdout
    elsewhere.process.stdout.close()


@pytest.fixture
def tree(place: Path) -> Iterator[int]:
    tree = open_tree(-100, str(place / "new"))
    mounts.mount_setattr(tree, set_flags=mounts.MOUNT_ATTR_RDONLY)
    mounts.mount_setattr(tree, propagation=mounts.MS_PRIVATE)
    yield tree
    os.close(tree)


def test_the_new_mount_takes_the_place_with_its_own_attributes(elsewhere: Elsewhere, tree: int, place: Path) -> None:
    (old,) = elsewhere.mounted()
    elsewhere.replace(tree, old.id)
    assert elsewhere.names() == ["in-new"]
    assert elsewhere.mounted()[-1].source == "new" and "ro" in elsewhere.mounted()[-1].options.split(",")
    assert (place / "old/in-old").exists() and not any((place / "at").iterdir()), "nobody else notices"


def test_what_is_not_the_mount_that_was_looked_at_stays(elsewhere: Elsewhere, tree: int) -> None:
    before = elsewhere.mounted()
    with pytest.raises(OSError, match="something else is mounted") as refused:
        elsewhere.replace(tree, before[0].id + 1)
    assert refused.value.errno == errno.ESTALE
    assert elsewhere.mounted() == before


def test_a_link_on_the_way_is_not_followed(elsewhere: Elsewhere, tree: int, place: Path) -> None:
    (place / "link").symlink_to(place / "at")
    (old,) = before = elsewhere.mounted()
    with pytest.raises(OSError, match="symbolic links") as refused:
        elsewhere.replace(tree, old.id, place / "link")
    assert refused.value.errno == errno.ELOOP
    assert elsewhere.mounted() == before


def test_a_child_that_hangs_is_left_behind(tree: int) -> None:
    with pytest.raises(TimeoutError):
        replace_mount(tree, tree, "/at", 1, 0.1, ("sleep", "1000"))
