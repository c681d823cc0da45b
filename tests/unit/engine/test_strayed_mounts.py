"""Mounts that a link led to /proc, found in a container's mount table."""

import pytest

from orlop.engine.strayed_mounts import find_strayed, is_bare
from orlop.kernel.mounts import MountEntry
from orlop.model.mount import Mount, MountKind


def entry(place: str, fs_type: str, root: str = "/", options: str = "rw,relatime") -> MountEntry:
    return MountEntry(1, 0, "0:1", root, place, options, (), fs_type, "x", "rw")


RUNTIMES = [
    entry("/", "overlay"),
    entry("/proc", "proc"),
    entry("/proc/sys", "proc", "/sys", "ro,relatime"),
    entry("/proc/keys", "devtmpfs", "/null"),
    entry("/proc/timer_list", "tmpfs", "/null", "rw,nosuid"),
    entry("/proc/acpi", "tmpfs", options="ro,relatime"),
    entry("/proc/scsi", "ext4", "/run/crun/.empty-directory", "ro,relatime"),
]
OUTER = Mount(MountKind.VOLUME, "/a", "/v/a", volume="a")
INNER = Mount(MountKind.VOLUME, "/a/x/self", "/v/b", volume="b")


def test_what_runtimes_mount_is_theirs() -> None:
    assert find_strayed([*RUNTIMES, entry("/a", "ext4"), entry("/b/self", "ext4")], [OUTER, INNER]) == []


@pytest.mark.parametrize(
    "found",
    [
        entry("/proc/1", "ext4", "/v/b"),
        entry("/proc/sys/kernel", "ext4", "/v/b", "ro"),
        entry("/proc/tty", "tmpfs"),
        entry("/proc/1/attr", "overlay", options="ro"),
        entry("/proc/keys", "ext4", "/v/null"),
    ],
)
def test_a_mount_that_landed_in_proc_is_found(found: MountEntry) -> None:
    assert find_strayed([*RUNTIMES, entry("/a", "ext4"), found], [OUTER, INNER]) == [found]


def test_where_everything_is_in_its_place_nothing_has_strayed() -> None:
    table = [*RUNTIMES, entry("/a", "ext4"), entry("/a/x/self", "ext4"), entry("/proc/new-mask", "ext4", "/empty")]
    assert find_strayed(table, [OUTER, INNER]) == []


def test_what_the_user_bound_over_proc_is_the_users() -> None:
    uptime = Mount(MountKind.BIND, "/proc/uptime", "/lxcfs/uptime")
    table = [*RUNTIMES, entry("/proc/uptime", "fuse.lxcfs", "/proc/uptime")]
    assert find_strayed(table, [OUTER, uptime]) == []
    whole = Mount(MountKind.BIND, "/proc", "/proc")
    assert find_strayed([*RUNTIMES, entry("/proc/sys/fs/binfmt_misc", "binfmt_misc")], [OUTER, whole]) == []


@pytest.mark.parametrize(
    ("on_host", "shown", "bare"),
    [
        (("0:7", "fuse.rclone"), [("0:7", "fuse.rclone")], False),
        (("0:8", "fuse.rclone"), [("0:7", "fuse.rclone")], True),  # mounted anew
        (("0:8", "fuse.rclone"), [("8:1", "ext4")], True),  # the directory below
        (("8:1", "ext4"), [("8:2", "ext4")], False),  # what a plugin gave may be anywhere
        (("0:8", "fuse.rclone"), [], False),
    ],
)
def test_a_container_that_took_the_directory_below_the_storage_is_known(
    on_host: tuple[str, str], shown: list[tuple[str, str]], bare: bool
) -> None:
    def at(place: str, device: str, fs_type: str) -> MountEntry:
        return MountEntry(1, 0, device, "/", place, "rw", (), fs_type, "source", "rw")

    assert is_bare(at("/host", *on_host), "/p", [at("/p", *each) for each in shown]) is bare
