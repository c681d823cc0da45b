"""Bind mounts are as restricted as what they show."""

from orlop.drivers.runtimes.bind_flags import keep_restrictions
from orlop.drivers.runtimes.driver import BundleMount

TABLE = b"""\
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:30 / /srv rw,relatime - tmpfs tmpfs rw
22 21 0:31 / /srv/strict ro,nosuid,nodev,noexec,relatime master:3 - tmpfs tmpfs rw
23 20 0:32 / /srv/twice rw - tmpfs tmpfs rw
24 23 0:33 / /srv/twice ro - tmpfs tmpfs rw
25 20 0:34 / /srv/with\\040space rw,noexec - tmpfs tmpfs rw
"""


def words(source: str, *options: str) -> tuple[str, ...]:
    (mount,) = keep_restrictions([BundleMount("/x", source, "bind", options)], TABLE)
    return mount.options


def test_a_source_without_restrictions_stays_as_it_is() -> None:
    assert words("/srv/data", "rbind", "rprivate") == ("rbind", "rprivate")
    assert words("/", "rbind") == ("rbind",)


def test_what_restricts_the_source_restricts_the_mount() -> None:
    assert words("/srv/strict/below/it", "rbind") == ("rbind", "ro", "nosuid", "nodev", "noexec")
    assert words("/srv/strict", "rbind", "ro") == ("rbind", "ro", "nosuid", "nodev", "noexec")
    assert words("/srv/strict-not", "rbind") == ("rbind",)
    assert words("/srv/with space/x", "rbind") == ("rbind", "noexec")


def test_what_is_mounted_last_counts() -> None:
    assert words("/srv/twice/x", "rbind") == ("rbind", "ro")


def test_other_mounts_are_left_alone() -> None:
    memory = BundleMount("/x", "tmpfs", "tmpfs", ("size=1m",))
    assert keep_restrictions([memory], TABLE) == (memory,)
