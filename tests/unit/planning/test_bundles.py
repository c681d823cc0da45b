"""What the runtime is told to mount."""

from pathlib import Path

import pytest

from orlop.drivers.runtimes.driver import BundleMount
from orlop.errors import HostFailure
from orlop.model.container import Container, ContainerConfig, HostConfig
from orlop.model.mount import Mount, MountKind, MountOrigin
from orlop.planning.bundles import Surroundings, build_bundle
from orlop.planning.mounts import check_recursion

DIRECTORY = Path("/data/containers/x")


def mounts_of(*mounts: Mount, host: HostConfig | None = None) -> dict[str, BundleMount]:
    container = Container(
        "x",
        "box",
        0,
        "sha256:0",
        ContainerConfig(),
        host or HostConfig(),
        "l",
        mounts=mounts,
        path="sh",
    )
    sources = {mount.destination: Path(mount.source) for mount in mounts if mount.kind is not MountKind.TMPFS}
    found = Surroundings(DIRECTORY, DIRECTORY / "log", Path("/root"), sources, "box", 0, 0, (), "/", "")
    bundle = build_bundle(container, found)
    depths = [mount.destination.count("/") for mount in bundle.mounts]
    assert depths == sorted(depths), "what lies in another comes after it"
    return {mount.destination: mount for mount in bundle.mounts}


def test_the_generated_files_lie_over_a_volume_at_etc_and_under_files_of_the_users() -> None:
    found = mounts_of(
        Mount(MountKind.VOLUME, "/etc", "/v", volume="v"), Mount(MountKind.BIND, "/etc/hosts", "/mine", read_only=True)
    )
    assert list(found) == ["/etc", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
    assert (found["/etc/hosts"].source, found["/etc/hosts"].options[-1]) == ("/mine", "ro")
    assert found["/etc/hostname"].source == str(DIRECTORY / "hostname")


def test_a_users_hosts_file_stays_writable_where_the_root_is_not() -> None:
    found = mounts_of(Mount(MountKind.BIND, "/etc/hosts", "/mine"), host=HostConfig(readonly_rootfs=True))
    assert found["/etc/hosts"].options == ("rbind", "rprivate")


@pytest.mark.parametrize(
    ("mount", "options"),
    [
        (Mount(MountKind.BIND, "/x", "/s"), ("rbind", "rprivate")),
        (Mount(MountKind.BIND, "/x", "/s", propagation="rslave", read_only=True), ("rbind", "rslave", "ro")),
        (Mount(MountKind.BIND, "/x", "/s", non_recursive=True), ("bind", "rprivate")),
        (Mount(MountKind.VOLUME, "/x", "/s", volume="v"), ("rbind", "rprivate")),
        (Mount(MountKind.IMAGE, "/x", "/s", image="i", read_only=True), ("rbind", "rprivate", "ro")),
        (Mount(MountKind.TMPFS, "/x", ""), ("noexec", "nosuid", "nodev", "rprivate")),
        (
            Mount(MountKind.TMPFS, "/x", "", tmpfs_size_bytes=64 << 20, tmpfs_mode=0o1777, read_only=True),
            ("noexec", "nosuid", "nodev", "rprivate", "size=64m", "mode=1777", "ro"),
        ),
        (
            Mount(MountKind.TMPFS, "/x", "", origin=MountOrigin.TMPFS, tmpfs_options=("exec", "size=1000", "size=7%")),
            ("nosuid", "nodev", "rprivate", "exec", "size=7%"),
        ),
    ],
)
def test_options_of_each_kind(mount: Mount, options: tuple[str, ...]) -> None:
    assert mounts_of(mount)["/x"].options == options


def test_wishes_about_recursion_that_contradict_each_other() -> None:
    for read_only, non_recursive, force, text in (
        (False, True, False, "!ReadOnly && BindOptions.ReadOnlyNonRecursive"),
        (False, False, True, "!ReadOnly && BindOptions.ReadOnlyForceRecursive"),
        (True, True, True, "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"),
    ):
        with pytest.raises(HostFailure) as refused:
            check_recursion(wished(read_only, non_recursive, force))
        assert refused.value.why == f"mount options conflict: {text}"
    for non_recursive, force in ((True, False), (False, True), (False, False)):
        check_recursion(wished(True, non_recursive, force))


def wished(read_only: bool, non_recursive: bool, force: bool) -> Mount:
    return Mount(
        MountKind.BIND,
        "/x",
        "/s",
        read_only=read_only,
        read_only_non_recursive=non_recursive,
        read_only_force_recursive=force,
    )
