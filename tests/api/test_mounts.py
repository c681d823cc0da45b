"""Mounts that are more than a path: images, owners shown as the container's user, read-only all the way down."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import DaemonMaker
from orlop.kernel.mounts import (
    MS_PRIVATE,
    MS_SHARED,
    bind,
    detach_privately,
    mount,
    mounts_at_or_below,
    set_propagation,
)
from support.daemon import LiveDaemon


def run_in(daemon: LiveDaemon, *words: object, code: int | None = 0) -> str:
    done = daemon.docker("run", "--rm", "--network", "none", *map(str, words), code=code)
    return str(done.stdout if code == 0 else done.stderr)


def by_orlop(daemon: LiveDaemon, *words: object, code: int = 0) -> str:
    done = daemon.orlop("run", "--rm", "--network", "none", *map(str, words), code=code)
    return done.stdout if code == 0 else done.stderr


def nothing_is_left(daemon: LiveDaemon) -> bool:
    return mounts_at_or_below(daemon.exec_root / "mounts") == [] and not any((daemon.exec_root / "mounts").glob("*"))


@contextmanager
def mounted_tmpfs(place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    mount("tmpfs", place, "tmpfs")
    try:
        yield place
    finally:
        detach_privately(place)


# Read-only


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file system mounted below it."""
    (tmp_path / "top").mkdir()
    with mounted_tmpfs(tmp_path / "top/below"):
        yield tmp_path / "top"


def writes(daemon: LiveDaemon, *options: str) -> set[str]:
    """Where a container could write."""
    script = "for p in /x /x/below; do touch $p/new 2>/dev/null && echo $p; done; true"
    return set(by_orlop(daemon, *options, "busybox", "sh", "-c", script).split())


def test_read_only_is_read_only_down_to_what_is_mounted_below(daemon: LiveDaemon, tree: Path) -> None:
    source = f"type=bind,source={tree},target=/x"
    assert writes(daemon, "-v", f"{tree}:/x:ro") == set()
    assert writes(daemon, "--mount", f"{source},readonly") == set()
    assert writes(daemon, "--mount", f"{source},readonly,bind-recursive=readonly") == set()
    assert writes(daemon, "--mount", f"{source},readonly,bind-recursive=writable") == {"/x/below"}
    assert writes(daemon, "--mount", f"{source},bind-recursive=disabled") == {"/x", "/x/below"}
    assert not (tree / "below/new").exists() or (tree / "below/new").stat().st_dev != tree.stat().st_dev
    assert nothing_is_left(daemon)


def test_a_volume_too_is_read_only_all_the_way_down(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    with mounted_tmpfs(daemon.volume_data("data") / "below"):
        assert writes(daemon, "-v", "data:/x:ro") == set()
        assert writes(daemon, "-v", "data:/x") == {"/x", "/x/below"}


def test_older_clients_get_what_they_knew(daemon: LiveDaemon, tree: Path) -> None:
    daemon.docker_version = "1.43"
    try:
        script = "for p in /x /x/below; do touch $p/new 2>/dev/null && echo $p; done; true"
        assert run_in(daemon, "-v", f"{tree}:/x:ro", "busybox", "sh", "-c", script).split() == ["/x/below"]
    finally:
        daemon.docker_version = ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("bind-recursive=writable", "!ReadOnly && BindOptions.ReadOnlyNonRecursive"),
        ("bind-recursive=readonly", "!ReadOnly && BindOptions.ReadOnlyForceRecursive"),
        (
            "readonly,bind-recursive=writable,bind-recursive=readonly",
            "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
        ),
    ],
)
def test_wishes_that_contradict_each_other_fail_the_start(daemon: LiveDaemon, tree: Path, words: str, why: str) -> None:
    daemon.orlop("create", "--name", "odd", "--mount", f"type=bind,source={tree},target=/x,{words}", "busybox", "true")
    assert f"mount options conflict: {why}" in daemon.docker("start", "odd", code=1).stderr


# Propagation


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A mount that passes on what is mounted in it."""
    place = tmp_path / "shared"
    place.mkdir()
    bind(place, place)
    set_propagation(place, MS_SHARED)
    (place / "later").mkdir()
    yield place
    detach_privately(place)


@pytest.mark.parametrize("word", ["rslave", "slave", "rshared", "shared"])
def test_what_is_mounted_later_shows_in_the_container(daemon: LiveDaemon, shared: Path, word: str) -> None:
    daemon.docker(
        "run", "-d", "--name", "box", "--network", "none", "-v", f"{shared}:/s:{word}", "busybox", "sleep", "99"
    )
    with mounted_tmpfs(shared / "later") as later:
        (later / "note").write_text("here\n")
        assert daemon.docker("exec", "box", "cat", "/s/later/note").stdout == "here\n"
    assert daemon.docker("exec", "box", "ls", "/s/later").stdout == ""


def test_what_a_container_mounts_in_a_shared_place_shows_outside(daemon: LiveDaemon, shared: Path) -> None:
    script = "mount -t tmpfs tmpfs /s/later && touch /s/later/inside && sleep 99"
    daemon.docker(
        *("run", "-d", "--name", "box", "--network", "none", "--privileged", "-v", f"{shared}:/s:rshared"),
        *("busybox", "sh", "-c", f"{script}"),
    )
    daemon.docker("exec", "box", "sh", "-c", "until [ -e /s/later/inside ]; do :; done", timeout=20)
    assert (shared / "later/inside").exists()
    daemon.docker("rm", "-f", "box")
    detach_privately(shared / "later")


@pytest.mark.parametrize(
    ("word", "kind"),
    [("rshared", "a shared mount"), ("shared", "a shared mount"), ("rslave", "a shared or slave mount")],
)
def test_propagation_that_the_source_cannot_give_fails_the_start(
    daemon: LiveDaemon, tmp_path: Path, word: str, kind: str
) -> None:
    place = tmp_path / "private"
    place.mkdir()
    bind(place, place)
    try:
        set_propagation(place, MS_PRIVATE)
        error = run_in(daemon, "-v", f"{place}:/x:{word}", "busybox", "true", code=125)
        assert f"path {place} is mounted on {place} but it is not {kind}" in error
    finally:
        detach_privately(place)


def test_a_bind_of_the_data_root_falls_back_where_nothing_is_passed_on(daemon: LiveDaemon) -> None:
    daemon.docker(
        "create", "--name", "box", "--network", "none", "-v", f"{daemon.data_root}:/root", "busybox", "ls", "/root"
    )
    assert daemon.inspect("container", "box")["Mounts"][0]["Propagation"] == "rslave"
    assert "volumes" in daemon.docker("start", "-a", "box").stdout


# Images


def test_an_image_is_mounted_read_only_and_kept(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "made", "--network", "none", "busybox", "sh", "-c", "mkdir /d; echo in > /d/note")
    daemon.docker("commit", "made", "content")
    daemon.docker("rm", "made")
    where = "type=image,source=content,target=/i"
    assert run_in(daemon, "--mount", f"{where},image-subpath=d", "busybox", "ls", "/i") == "note\n"
    said = by_orlop(daemon, "--mount", where, "busybox", "sh", "-c", "cat /i/d/note; touch /i/d/x 2>&1; ls /i")
    assert said.startswith("in\n") and "Read-only file system" in said and "bin" in said
    assert by_orlop(daemon, "--mount", f"{where},image-subpath=d", "busybox", "ls", "/i") == "note\n"
    assert by_orlop(daemon, "--mount", f"{where},image-subpath=d/note", "busybox", "cat", "/i") == "in\n"
    missing = by_orlop(daemon, "--mount", f"{where},image-subpath=none", "busybox", "true", code=127)
    assert "cannot access path" in missing
    assert "relative path within the volume" in by_orlop(
        daemon, "--mount", f"{where},image-subpath=../x", "busybox", "true", code=125
    )
    assert nothing_is_left(daemon)


def test_an_image_stays_while_a_container_has_it_mounted(daemon: LiveDaemon, busybox_tar: Path) -> None:
    daemon.docker("import", "--message", "another", busybox_tar, "content")
    daemon.orlop(
        *("run", "-d", "--name", "user", "--network", "none"),
        *("--mount", "type=image,source=content,target=/i", "busybox", "sleep", "99"),
    )
    (point,) = daemon.inspect("container", "user")["Mounts"]
    assert (point["Type"], point["Name"], point["Destination"]) == ("image", "content", "/i")
    assert (point["RW"], point["Mode"], point["Propagation"]) == (False, "", "rprivate")
    assert Path(point["Source"]).is_dir() and "Driver" not in point
    assert "user" in daemon.docker("ps", "--filter", "volume=content", "--format", "{{.Names}}").stdout
    refused = daemon.docker("rmi", daemon.inspect("image", "content")["Id"], code=1).stderr
    assert "running container" in refused
    daemon.docker("tag", "busybox", "content")  # the name means another image now
    daemon.restart()
    assert daemon.docker("exec", "user", "ls", "/i/bin/sh").stdout == "/i/bin/sh\n"
    assert daemon.docker("cp", "user:/i/bin/busybox", "-", timeout=60).returncode == 0
    daemon.docker("stop", "-t", "0", "user")
    assert daemon.docker("cp", "user:/i/bin/busybox", "-").returncode == 0
    daemon.docker("start", "user")
    heir = by_orlop(daemon, "--volumes-from", "user", "busybox", "sh", "-c", "ls /i/bin/sh; touch /i/x 2>&1; true")
    assert heir.startswith("/i/bin/sh") and "Read-only" in heir
    assert "marked read-only" in daemon.docker("cp", "/etc/passwd", "user:/i/", code=1).stderr
    daemon.docker("rm", "-f", "user")
    assert nothing_is_left(daemon)


def test_an_image_that_was_removed_by_force_is_there_for_those_who_mount_it(
    daemon: LiveDaemon, busybox_tar: Path
) -> None:
    daemon.docker("import", "--message", "doomed", busybox_tar, "doomed")
    image = daemon.inspect("image", "doomed")["Id"]
    mount_words = ("--mount", "type=image,source=doomed,target=/i")
    daemon.docker("create", "--name", "box", "--network", "none", *mount_words, "busybox", "ls", "/i/bin/sh")
    assert "must" in daemon.docker("rmi", "doomed", code=1).stderr and "box" not in daemon.docker("ps", "-q").stdout
    daemon.docker("image", "prune", "-af")
    assert daemon.inspect("image", "doomed")["Id"] == image, "it is in use"
    daemon.docker("rmi", "-f", image)
    assert daemon.docker("start", "-a", "box").stdout == "/i/bin/sh\n"
    layers = daemon.layer_folders()
    daemon.docker("rm", "box")
    assert daemon.layer_folders() < layers


@pytest.mark.parametrize("arguments", [("--storage-driver", "vfs"), ("--runtime", "runc")])
def test_the_same_with_other_drivers(
    make_daemon: DaemonMaker, tree: Path, shared: Path, arguments: tuple[str, str]
) -> None:
    if arguments[1] == "runc" and shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    daemon = make_daemon(arguments=arguments)
    daemon.docker("run", "--name", "made", "--network", "none", "busybox", "sh", "-c", "mkdir /d; echo in > /d/note")
    daemon.docker("commit", "made", "content")
    image = "type=image,source=content,target=/i"
    said = run_in(
        daemon, "--mount", image, "busybox", "sh", "-c", "cat /i/d/note; touch /i/x 2>/dev/null || ls /i/bin/sh"
    )
    assert said == "in\n/i/bin/sh\n"
    assert writes(daemon, "-v", f"{tree}:/x:ro") == set()
    os.chown(tree, 3000, 3000)
    assert run_in(daemon, "-u", "7:7", "-v", f"{tree}:/x:idmap", "busybox", "stat", "-c", "%u:%g", "/x") == "7:7\n"
    daemon.docker(
        "run", "-d", "--name", "box", "--network", "none", "-v", f"{shared}:/s:rslave", "busybox", "sleep", "99"
    )
    with mounted_tmpfs(shared / "later") as later:
        (later / "note").touch()
        assert daemon.docker("exec", "box", "ls", "/s/later").stdout == "note\n"
    assert nothing_is_left(daemon)


# Owners


def owner(path: Path) -> tuple[int, int]:
    details = path.stat()
    return details.st_uid, details.st_gid


def test_two_users_share_a_volume_and_each_sees_its_own(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    data = daemon.volume_data("data")
    os.chown(data, 3000, 3001)
    seen = "stat -c %u:%g /d /d/*; touch /d/of-$(id -u)"
    assert (
        run_in(daemon, "-u", "1000:1000", "-v", "data:/d:idmap", "busybox", "sh", "-c", seen).split()[0] == "1000:1000"
    )
    assert set(run_in(daemon, "-u", "2000:2000", "-v", "data:/d:idmap", "busybox", "sh", "-c", seen).split()) == {
        "2000:2000"
    }
    assert {path.name: owner(path) for path in data.iterdir()} == {
        "of-1000": (3000, 3001),
        "of-2000": (3000, 3001),
    }
    assert set(run_in(daemon, "-v", "data:/d", "busybox", "stat", "-c", "%u:%g", "/d").split()) == {"3000:3001"}
    assert nothing_is_left(daemon)


def test_the_other_ids_stay_and_nothing_is_without_a_name(daemon: LiveDaemon, tmp_path: Path) -> None:
    os.chown(tmp_path, 3000, 3000)
    for uid in (0, 1000, 3000, 4000):
        (tmp_path / str(uid)).touch()
        os.chown(tmp_path / str(uid), uid, uid)
    mount_words = f"type=bind,source={tmp_path},target=/d,idmap"
    script = "cd /d; for f in *; do echo $f=$(stat -c %u:%g $f); done"
    said = by_orlop(daemon, "-u", "1000:1000", "--mount", mount_words, "busybox", "sh", "-c", script).split()
    assert said == ["0=0:0", "1000=3000:3000", "3000=1000:1000", "4000=4000:4000"]


def test_an_owner_may_be_shown_as_another_user_than_the_containers(daemon: LiveDaemon, tmp_path: Path) -> None:
    os.chown(tmp_path, 3000, 3000)
    words = f"type=bind,source={tmp_path},target=/d,bind-idmap=match-user:1234:99,readonly"
    said = by_orlop(daemon, "--mount", words, "busybox", "sh", "-c", "stat -c %u:%g /d; touch /d/x 2>&1; true")
    assert said.startswith("1234:99\n") and "Read-only" in said


def test_copies_see_the_ids_that_the_container_sees(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.docker("volume", "create", "data")
    data = daemon.volume_data("data")
    os.chown(data, 3000, 3000)
    (tmp_path / "note").write_text("of root\n")
    make = ("run", "-d", "--name", "box", "--network", "none", "-u", "1000:1000", "-v", "data:/d:idmap")
    daemon.docker(*make, "busybox", "sleep", "99")
    daemon.docker("cp", "-a", tmp_path / "note", "box:/d/running")
    daemon.docker("stop", "-t", "0", "box")
    daemon.docker("cp", "-a", tmp_path / "note", "box:/d/stopped")
    assert owner(data / "running") == owner(data / "stopped") == (3000, 3000)
    daemon.docker("rm", "box")


def test_a_file_system_that_cannot_says_so_and_the_way_out(daemon: LiveDaemon) -> None:
    words = ("--mount", "type=bind,source=/proc,target=/x,idmap", "-u", "1000")
    error = by_orlop(daemon, *words, "busybox", "true", code=125)
    assert "id-mapped mount" in error and "-o uid=" in error
    assert nothing_is_left(daemon)


def test_parts_read_only_and_old_clients(docker_clients: LiveDaemon) -> None:
    daemon = docker_clients
    daemon.docker("volume", "create", "data")
    data = daemon.volume_data("data")
    (data / "part").mkdir()
    os.chown(data / "part", 3000, 3000)
    said = run_in(
        daemon,
        "-u",
        "7:7",
        "-v",
        "data:/d:ro,idmap",
        "busybox",
        "sh",
        "-c",
        "stat -c %u /d /d/part; touch /d/x 2>/dev/null || true",
    )
    assert said.split() == ["7", "3000"]
    part = "type=volume,source=data,target=/d,volume-subpath=part,idmap"
    said = by_orlop(daemon, "-u", "7:7", "--mount", part, "busybox", "sh", "-c", "touch /d/x; stat -c %u:%g /d /d/x")
    assert said.split() == ["7:7", "7:7"] and owner(data / "part/x") == (3000, 3000)


def test_a_container_keeps_its_view_while_the_daemon_dies_and_comes_back(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    os.chown(daemon.volume_data("data"), 3000, 3000)
    daemon.docker(
        *("run", "-d", "--name", "box", "--network", "none", "-u", "7:7", "-v", "data:/d:idmap"),
        *("--mount", "type=image,source=busybox,target=/i", "busybox", "sleep", "99"),
    )
    assert nothing_is_left(daemon), "it needs nothing of ours to go on"
    daemon.restart()
    assert (
        daemon.docker("exec", "box", "sh", "-c", "touch /d/x; stat -c %u /d/x; ls /i/bin/sh").stdout == "7\n/i/bin/sh\n"
    )
    daemon.docker("restart", "-t", "0", "box")
    assert daemon.docker("exec", "box", "stat", "-c", "%u", "/d/x").stdout == "7\n"
    assert daemon.inspect("container", "box")["HostConfig"]["Binds"] == ["data:/d:idmap"]


# Memory


def test_files_are_copied_into_memory_of_a_running_container_only(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("in\n")
    daemon.docker("run", "-d", "--name", "box", "--network", "none", "--tmpfs", "/t", "busybox", "sleep", "99")
    daemon.docker("cp", tmp_path / "note", "box:/t/note")
    assert daemon.docker("exec", "box", "cat", "/t/note").stdout == "in\n"
    daemon.docker("cp", "box:/t/note", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "in\n"
    daemon.docker("stop", "-t", "0", "box")
    refused = daemon.docker("cp", tmp_path / "note", "box:/t/note", code=1).stderr
    assert "/t is a tmpfs" in refused and "Start" in refused
    assert "/t/note" not in daemon.docker("diff", "box").stdout


# Places that are the kernel's


@pytest.mark.parametrize("place", ["/proc", "/proc/self", "/proc/x/../sys"])
def test_a_volume_over_the_kernels_files_is_refused(daemon: LiveDaemon, place: str) -> None:
    assert "cannot be mounted because it is" in run_in(daemon, "-v", f"data:{place}", "busybox", "true", code=125)
    assert "cannot be mounted because it is" in run_in(daemon, "-v", place, "busybox", "true", code=125)


def test_a_link_in_the_image_leads_no_mount_to_the_kernels_files(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "trap", "--network", "none", "busybox", "ln", "-s", "/proc", "/trap")
    daemon.docker("commit", "--change", "VOLUME /trap/self", "trap", "trap")
    daemon.docker("rm", "trap")
    assert "inside /proc" in run_in(daemon, "trap", "true", code=125)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_link_in_a_volume_leads_no_mount_to_the_kernels_files(
    daemon: LiveDaemon, tmp_path: Path, runtime: str
) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    daemon.docker("volume", "create", "trap")
    (daemon.volume_data("trap") / "x").symlink_to("/proc")
    for place in ("self", "sys/kernel", "tty"):
        words = ("--runtime", runtime, "-v", "trap:/a", "-v", f"data:/a/x/{place}", "busybox", "true")
        assert "/proc" in run_in(daemon, *words, code=125)
    nested = ("--runtime", runtime, "-v", "trap:/a", "-v", "data:/a/in", "--tmpfs", "/a/in/t", "busybox", "true")
    run_in(daemon, *nested)
    assert daemon.docker("ps", "-aq").stdout == "", "what was refused is put away"


@pytest.mark.parametrize("umask", [0o077])
def test_a_source_that_is_missing_is_made_for_everybody(make_daemon: DaemonMaker, tmp_path: Path, umask: int) -> None:
    usual = os.umask(umask)
    try:
        daemon = make_daemon()
    finally:
        os.umask(usual)
    run_in(daemon, "-v", f"{tmp_path}/new/deep:/x", "busybox", "true")
    for path in (tmp_path / "new", tmp_path / "new/deep"):
        assert path.stat().st_mode & 0o777 == 0o755 and path.stat().st_uid == 0


def test_a_source_that_cannot_be_made_says_why(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("none")
    for source, why in (
        ("file/x", "not a directory"),
        ("nowhere", "file exists"),
        ("n" * 300, "file name too long"),
    ):
        error = run_in(daemon, "-v", f"{tmp_path}/{source}:/y", "busybox", "true", code=125)
        assert f"error while creating mount source path '{tmp_path}/{source}': mkdir" in error and why in error
        error = by_orlop(
            daemon, "--mount", f"type=bind,source={tmp_path}/{source},target=/y", "busybox", "true", code=125
        )
        assert f"bind source path does not exist: {tmp_path}/{source}" in error


def test_an_image_that_is_not_there_is_named(daemon: LiveDaemon) -> None:
    error = run_in(daemon, "--mount", "type=image,source=nothere,target=/i", "busybox", "true", code=125)
    assert "No such image: nothere:latest" in error
