"""`orlop adopt`: volumes of Docker's and Podman's data roots, moved and copied, with everything that they are."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from crash.house import disorder
from support.bolt_files import write_database
from support.daemon import LiveDaemon, wait_for
from support.foreign_roots import (
    BOUND,
    DOCKERD,
    Podman,
    fill_data,
    live_docker,
    make_docker_volumes,
    unpack_docker_root,
)

Said = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def ours(docker_command: Path) -> Iterator[LiveDaemon]:
    """One daemon for all tests here, which need no image."""
    daemon = LiveDaemon(docker_command)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def daemon(ours: LiveDaemon) -> Iterator[LiveDaemon]:
    yield ours
    assert disorder(ours) == []
    ours.clear()
    for line in ours.orlop("volume", "ls", "--retired", "-q").stdout.split():
        ours.orlop("volume", "purge", "--force", line)


@pytest.fixture
def docker_root(daemon: LiveDaemon, tmp_path: Path) -> tuple[Path, Said]:
    """On the daemon's own file system."""
    root = daemon.home / f"docker-{tmp_path.name}"
    return root, unpack_docker_root(root)


def adopt(daemon: LiveDaemon, root: Path, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    done = daemon.orlop("adopt", root, "--format", "json", *arguments, code=code)
    return {it["Name"]: it for it in map(json.loads, done.stdout.splitlines())}


def facts(said: dict[str, Any]) -> dict[str, Any]:
    """What of a volume is the same in both engines."""
    return {key: said[key] or {} for key in ("Name", "Labels", "Options", "Driver", "Scope")}


def assert_data_is_whole(data: Path) -> None:
    details = data.stat()
    assert (details.st_uid, details.st_gid, details.st_mode & 0o7777) == (999, 998, 0o2770)
    note = data / "sub/note"
    assert note.read_text() == "kept\n" and os.getxattr(note, "user.colour") == b"blue"
    assert (note.stat().st_uid, note.stat().st_gid, note.stat().st_nlink) == (1000, 1001, 2)
    assert note.samefile(data / "again") and (data / "link").readlink() == Path("sub/note")
    sparse = (data / "sparse").stat()
    assert sparse.st_size == 1 << 20 and sparse.st_blocks < 64


def everything_in(root: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_ino, path.lstat().st_ctime_ns, path.lstat().st_size)
        for path in root.rglob("*")
    }


# Docker


def test_docker_volumes_are_moved_with_everything_they_are(daemon: LiveDaemon, docker_root: tuple[Path, Said]) -> None:
    root, said = docker_root
    before = (root / "volumes/plain/_data/sub/note").stat().st_ino
    found = adopt(daemon, root, code=1)  # a container refers to two of them
    anonymous = next(name for name in said if len(name) == 64)
    moved = {"plain", "labelled", "memory", "bound"}
    assert {name for name, it in found.items() if it["Done"]} == moved
    for name in ("used", anonymous):
        assert found[name]["Reason"] == "containers there refer to it: web" and "--copy" in found[name]["Hint"]
        assert (root / "volumes" / name / "_data").is_dir()
    for name in moved:
        assert facts(daemon.inspect("volume", name)) == facts(said[name])
        assert not (root / "volumes" / name).exists()
    assert_data_is_whole(daemon.volume_data("plain"))
    assert (daemon.volume_data("plain") / "sub/note").stat().st_ino == before, "bytes were copied"
    assert json.loads((daemon.volume_data("memory").parent / "opts.json").read_text())["MountType"] == "tmpfs"
    again = adopt(daemon, root, code=1)
    assert {name for name, it in again.items()} == {"used", anonymous}
    assert adopt(daemon, root, "used", anonymous, "--force").keys() == {"used", anonymous}
    assert (daemon.volume_data("used") / "note").read_text() == "used\n"
    assert adopt(daemon, root) == {}
    gone = adopt(daemon, root, "plain", code=1)["plain"]
    assert gone["Reason"] == "no such volume there" and "taken over before" in gone["Hint"]


def test_docker_volumes_are_copied_and_stay(daemon: LiveDaemon, docker_root: tuple[Path, Said]) -> None:
    root, said = docker_root
    before = everything_in(root)
    found = adopt(daemon, root, "--copy")
    assert {name for name, it in found.items() if it["Done"]} == set(said)
    for name, told in said.items():
        assert facts(daemon.inspect("volume", name)) == facts(told)
    assert_data_is_whole(daemon.volume_data("plain"))
    assert (daemon.volume_data("used") / "note").read_text() == "used\n"
    assert everything_in(root) == before
    assert found["plain"]["Entries"] == 5
    taken = adopt(daemon, root, "--copy", code=1)
    assert {it["Reason"] for it in taken.values()} == {f"a volume {name} is here already" for name in said}


def test_a_dry_run_only_tells(daemon: LiveDaemon, docker_root: tuple[Path, Said]) -> None:
    root, _ = docker_root
    before = everything_in(root)
    done = daemon.orlop("adopt", root, "--dry-run", code=1)
    assert "would be moved" in done.stdout and "containers there refer to it: web" in done.stderr
    assert not any(it["Done"] for it in adopt(daemon, root, "--copy", "--dry-run").values())
    assert everything_in(root) == before and daemon.docker("volume", "ls", "-q").stdout == ""


def test_people_see_a_table_before_and_after(daemon: LiveDaemon, docker_root: tuple[Path, Said]) -> None:
    root, _ = docker_root
    done = daemon.orlop("adopt", root, "plain", "--as", "plain=mine")
    before, _, after = done.stdout.partition("\n\n")
    assert before.splitlines()[1].split() == ["plain", "would", "be", "moved", "-", "as", "mine"]
    assert after.splitlines()[1].split() == ["plain", "moved", "-", "as", "mine"]
    assert daemon.docker("volume", "ls", "-q").stdout == "mine\n"


def test_a_taken_name_keeps_one_volume_and_no_other(daemon: LiveDaemon, docker_root: tuple[Path, Said]) -> None:
    root, _ = docker_root
    daemon.docker("volume", "create", "plain")
    found = adopt(daemon, root, "plain", "labelled", code=1)
    assert found["labelled"]["Done"] and found["plain"]["Reason"] == "a volume plain is here already"
    assert found["plain"]["Hint"] == "Give it another name: --as plain=NEW"
    assert adopt(daemon, root, "plain", "--as", "plain=theirs")["plain"]["Done"]
    assert_data_is_whole(daemon.volume_data("theirs"))


def test_what_is_no_directory_stays(daemon: LiveDaemon, docker_root: tuple[Path, Said], tmp_path: Path) -> None:
    """Links in the place of data or of the volume are never followed; what is spoilt or mounted says so."""
    root, _ = docker_root
    volumes = root / "volumes"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("not a volume")
    (volumes / "labelled/_data").rmdir()
    (volumes / "labelled/_data").symlink_to(elsewhere)
    (volumes / "sly").symlink_to(elsewhere)
    (volumes / "memory/opts.json").write_text('{"MountType": ["tmpfs"]}')
    (volumes / "spoilt/_data").mkdir(parents=True)
    (volumes / "spoilt/opts.json").write_text('{"Mount')
    (volumes / "empty").mkdir()
    (volumes / "plain/_data/inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volumes / "plain/_data/inner"], check=True)
    try:
        for way in ((), ("--copy",)):
            found = adopt(daemon, root, *way, code=1)
            assert found["labelled"]["Reason"] == f"its _data is a symbolic link to {elsewhere}"
            assert f"device={elsewhere}" in found["labelled"]["Hint"]
            assert "no directory that can be opened" in found["sly"]["Reason"]
            assert "opts.json is unreadable" in found["spoilt"]["Reason"]
            assert "there is no directory _data" in found["empty"]["Reason"]
            assert "inner is mounted" in found["plain"]["Reason"]
    finally:
        subprocess.run(["umount", volumes / "plain/_data/inner"], check=True)
    assert (elsewhere / "secret").read_text() == "not a volume"


def test_what_somebody_has_mounted_is_not_moved(
    daemon: LiveDaemon, docker_root: tuple[Path, Said], tmp_path: Path
) -> None:
    """A container that outlived its daemon has the data in a mount namespace that nobody else sees."""
    root, _ = docker_root
    script = f"mount --bind {root}/volumes/plain/_data {tmp_path} && echo ready && exec sleep 1000"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            for way in ((), ("--force",), ("--copy",)):
                reason = adopt(daemon, root, "plain", *way, code=1)["plain"]["Reason"]
                assert reason == f"it is in use: process {process.pid} has it mounted at {tmp_path}"
            assert adopt(daemon, root, "plain", "--copy", "--force")["plain"]["Done"]
        finally:
            process.kill()


def test_docker_must_not_run_on_it(daemon: LiveDaemon, docker_root: tuple[Path, Said]) -> None:
    root, _ = docker_root
    with (root / "volumes/metadata.db").open("rb") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        done = daemon.orlop("adopt", root, code=1)
    assert "Docker is running on it" in done.stderr and "Stop Docker first" in done.stderr
    assert daemon.docker("volume", "ls", "-q").stdout == ""


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing"])
def test_a_damaged_memory_stops_it_unless_folders_will_do(
    damage: str, daemon: LiveDaemon, docker_root: tuple[Path, Said]
) -> None:
    root, said = docker_root
    database = root / "volumes/metadata.db"
    match damage:
        case "cut":
            os.truncate(database, 4096)
        case "garbage":
            database.write_bytes(os.urandom(32768))
        case _:
            database.unlink()
    done = daemon.orlop("adopt", root, code=1)
    assert "metadata.db is" in done.stderr and "--force takes over what lies there" in done.stderr
    found = adopt(daemon, root, "--force")
    assert set(found) == set(said) and all(it["Done"] for it in found.values())
    assert "no labels" in found["labelled"]["Notes"][0]
    assert daemon.inspect("volume", "bound")["Options"] == {"type": "none", "o": "bind", "device": BOUND}


def test_what_docker_knows_wrongly_of_one_keeps_no_other(daemon: LiveDaemon, tmp_path: Path) -> None:
    """A record that makes no sense, names that lead elsewhere, a volume of a plugin's, a container that is spoilt."""
    root = daemon.home / f"odd-{tmp_path.name}"
    (root / "volumes/data/_data").mkdir(parents=True)
    (root / "volumes/spoilt/_data").mkdir(parents=True)
    records = {
        b"data": b'{"Name":"data","Driver":"local","Labels":{"a":"1"},"Options":null}',
        b"remote": b'{"Name":"remote","Driver":"vieux/sshfs:latest","Labels":null,"Options":{"password":"secret"}}',
        b"spoilt": b'{"Name":"spoilt","Driver":["local"]}',
        b"../../etc": b'{"Name":"../../etc","Driver":"local"}',
        b"gone": b'{"Name":"gone","Driver":"local"}',
        b"\xff": b"\xff",
    }
    (root / "volumes/metadata.db").write_bytes(write_database({b"volumes": records}))
    found = adopt(daemon, root, code=1)
    assert found.pop("data")["Done"] and daemon.inspect("volume", "data")["Labels"] == {"a": "1"}
    assert found["remote"]["Reason"] == "its data is kept by the driver vieux/sshfs:latest"
    assert "secret" not in str(found["remote"])
    assert "record of it is damaged" in found["spoilt"]["Reason"] and "gone" not in found
    assert found["../../etc"]["Reason"] == "its name is none that a directory can have"
    assert not any(it["Done"] for it in found.values())
    container = root / "containers" / ("c" * 64)
    container.mkdir(parents=True)
    (container / "config.v2.json").write_text('{"Name": "/web", "MountPoi')
    assert "config.v2.json, which says what container" in daemon.orlop("adopt", root, code=1).stderr
    assert adopt(daemon, root, "spoilt", "--force")["spoilt"]["Done"]


def test_a_root_without_volumes_has_none_to_give(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "libpod").mkdir()
    (tmp_path / "libpod/bolt_state.db").write_bytes(write_database({}))
    assert "There is no volume to take over" in daemon.orlop("adopt", tmp_path).stdout
    assert adopt(daemon, tmp_path, "data", code=1)["data"]["Reason"] == "no such volume there"


def test_from_another_file_system_volumes_are_copied(small_disk: Callable[[int], Path], daemon: LiveDaemon) -> None:
    root = small_disk(64 << 20) / "docker"
    said = unpack_docker_root(root)
    found = adopt(daemon, root, "plain", code=1)
    assert found["plain"]["Reason"].startswith("it is on another file system")
    assert found["plain"]["Hint"] == "Copy it: --copy"
    assert all(it["Done"] for it in adopt(daemon, root, "--copy").values())
    assert_data_is_whole(daemon.volume_data("plain"))
    assert set(daemon.docker("volume", "ls", "-q").stdout.split()) == set(said)


def test_through_another_mount_of_the_file_system_nothing_is_moved(
    daemon: LiveDaemon, docker_root: tuple[Path, Said], tmp_path: Path
) -> None:
    root, _ = docker_root
    subprocess.run(["mount", "--bind", root, tmp_path], check=True)
    try:
        found = adopt(daemon, tmp_path, "labelled", code=1)
        assert "another mount" in found["labelled"]["Reason"] and "--copy" in found["labelled"]["Hint"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert (root / "volumes/labelled/_data").is_dir()


@pytest.mark.parametrize("there", ["nothing", "photos", "ours", "file"])
def test_what_is_no_data_root_is_refused(there: str, daemon: LiveDaemon, tmp_path: Path) -> None:
    match there:
        case "photos":
            (tmp_path / "photos").mkdir()
        case "file":
            (tmp_path / "file").write_text("")
    root = {"ours": daemon.data_root, "file": tmp_path / "file"}.get(there, tmp_path)
    said = daemon.orlop("adopt", root, code=1).stderr
    assert ("Orlop's own" if there == "ours" else "data root") in said and "Traceback" not in said


def test_adoption_is_killed_at_every_step(daemon: LiveDaemon, docker_root: tuple[Path, Said], tmp_path: Path) -> None:
    """Killed before, a volume is still Docker's, whole; after, it is ours, whole."""
    root, said = docker_root
    for moment in ("volume.adopt/volume.adopt/before", "volume.adopt/volume.adopt/after"):
        daemon.stop()
        daemon.start(environment={"ORLOP_FAULT": f"{moment}=kill"})
        daemon.orlop("adopt", root, "plain", "labelled", code=1)
        assert daemon.wait_for_exit() == -9
        daemon.start()
        wait_for("the daemon to have recovered", lambda: daemon.docker("ps", code=None).returncode == 0)
        assert disorder(daemon) == []
        names = daemon.docker("volume", "ls", "-q").stdout.split()
        assert names == ([] if moment.endswith("before") else ["labelled"])
    assert facts(daemon.inspect("volume", "labelled")) == facts(said["labelled"])
    assert adopt(daemon, root, "plain")["plain"]["Done"]
    assert_data_is_whole(daemon.volume_data("plain"))


def test_a_journal_that_cannot_be_written_leaves_the_volume_to_docker(
    daemon: LiveDaemon, docker_root: tuple[Path, Said]
) -> None:
    root, _ = docker_root
    daemon.stop()
    daemon.start(environment={"ORLOP_FAULT": "volume.adopt/volume.adopt/after=errno:ENOSPC"})
    found = adopt(daemon, root, "plain", code=1)
    assert not found["plain"]["Done"] and "No space left on device" in found["plain"]["Reason"]
    assert_data_is_whole(root / "volumes/plain/_data")
    assert not (root / "volumes/plain/orlop.json").exists()
    daemon.stop()
    daemon.start()
    assert adopt(daemon, root, "plain")["plain"]["Done"]


@pytest.mark.skipif(not DOCKERD.exists(), reason="no dockerd on this machine")
def test_the_real_docker_before_and_after(daemon: LiveDaemon) -> None:
    """While it runs it keeps its volumes; afterwards it has forgotten those that were moved, and still has the rest."""
    with live_docker() as docker:
        said = make_docker_volumes(docker)
        assert "Docker is running on it" in daemon.orlop("adopt", docker.data_root, code=1).stderr
        docker.stop()
        adopt(daemon, docker.data_root, code=1)
        for name in ("plain", "labelled", "memory", "bound"):
            mine = daemon.inspect("volume", name)
            assert facts(mine) == facts(said[name])
            if name == "labelled":  # nobody has written to it since
                assert mine["CreatedAt"][:19] == said[name]["CreatedAt"][:19]
        docker.start()
        anonymous = next(name for name in said if len(name) == 64)
        assert docker.docker("volume", "ls", "-q").stdout.split() == sorted([anonymous, "used"])
        assert docker.inspect("container", "web")["Mounts"]
        docker.stop()
        # Handed back by hand, as the documentation says.
        target = docker.data_root / "volumes/labelled"
        daemon.stop()
        (daemon.data_root / "volumes/labelled").rename(target)
        daemon.start()
        docker.start()
        assert docker.inspect("volume", "labelled")["Mountpoint"] == str(target / "_data")
        docker.stop()
    daemon.docker("volume", "rm", "labelled", code=None)


# Podman


@pytest.fixture
def podman(daemon: LiveDaemon, tmp_path: Path) -> Iterator[Podman]:
    if shutil.which("podman") is None:
        pytest.skip("no podman on this machine")
    run_root = Path(tempfile.mkdtemp(prefix="orlop-", dir="/run"))
    made = Podman(daemon.home / f"podman-{tmp_path.name}", run_root)
    made("volume", "create", "--label", "tier=db", "--label", "empty=", "labelled")
    made("volume", "create", "--opt", "o=uid=999,gid=998", "owned")
    made("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", f"device={BOUND}", "bound")
    made("volume", "create", "x")
    fill_data(made.data("owned"))
    yield made
    shutil.rmtree(run_root)


def test_podman_volumes_are_moved_with_everything_they_are(daemon: LiveDaemon, podman: Podman) -> None:
    told = {name: podman.inspect(name) for name in ("labelled", "owned", "bound")}
    found = adopt(daemon, podman.root, code=1)
    assert not found["x"]["Done"] and "too short" in found["x"]["Reason"] and "--as x=NEW" in found["x"]["Hint"]
    for name, theirs in told.items():
        mine = daemon.inspect("volume", name)
        assert (mine["Labels"] or {}) == theirs["Labels"]
        options = {key: value for key, value in theirs["Options"].items() if not key.isupper()}
        assert (mine["Options"] or {}) == options
        assert mine["CreatedAt"][:19] == theirs["CreatedAt"][:19]
        assert not podman.data(name).exists()
    assert_data_is_whole(daemon.volume_data("owned"))
    assert adopt(daemon, podman.root, "x", "--as", "x=longer")["x"]["Done"]
    podman("volume", "rm", *told, "x")  # its memory of them goes, and nothing else
    assert_data_is_whole(daemon.volume_data("owned"))


def test_podman_volumes_are_copied_and_stay(daemon: LiveDaemon, podman: Podman) -> None:
    found = adopt(daemon, podman.root, "--copy", "--as", "x=longer")
    assert all(it["Done"] for it in found.values())
    assert_data_is_whole(daemon.volume_data("owned"))
    assert_data_is_whole(podman.data("owned"))
    assert podman("volume", "ls", "-q").stdout.split() == ["bound", "labelled", "owned", "x"]


def test_podmans_containers_keep_their_volumes_unless_copied(
    daemon: LiveDaemon, podman: Podman, busybox_tar: Path
) -> None:
    podman("import", busybox_tar, "busybox")
    podman(
        "create", "--name", "web", "--network", "none", "-v", "labelled:/data", "-v", "/anonymous", "busybox", "true"
    )
    found = adopt(daemon, podman.root, "--as", "x=longer", code=1)
    anonymous = next(name for name in found if len(name) == 64)
    assert {found[name]["Reason"] for name in ("labelled", anonymous)} == {"containers there refer to it: web"}
    adopt(daemon, podman.root, "labelled", anonymous, "--copy")
    assert "com.docker.volume.anonymous" in daemon.inspect("volume", anonymous)["Labels"]
    podman("rm", "-f", "-v", "web")


def test_podman_at_work_is_waited_for_by_the_user(daemon: LiveDaemon, podman: Podman) -> None:
    with (podman.root / "libpod/bolt_state.db").open("rb") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        assert "Podman is running on it" in daemon.orlop("adopt", podman.root, code=1).stderr


def test_a_users_podman_is_taken_over_and_leads_nowhere_else(
    daemon: LiveDaemon, podman: Podman, tmp_path: Path
) -> None:
    os.chown(podman.root, 1000, 1000)
    os.chown(podman.data("labelled").parent, 1000, 1000)
    found = adopt(daemon, podman.root, "labelled")
    assert "a user's Podman shifts them" in found["labelled"]["Notes"][0]
    folder = daemon.volume_data("labelled").parent.stat()
    assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o7777) == (0, 0, 0o701)
    (podman.root / "volumes").rename(tmp_path / "moved")
    (podman.root / "volumes").symlink_to(tmp_path / "moved")
    assert "which belongs to the user 1000" in daemon.orlop("adopt", podman.root, code=1).stderr
    os.chown(podman.root, 0, 0)  # an administrator may keep them on another disk
    assert all(it["Done"] for it in adopt(daemon, podman.root, "owned", "bound", "--copy").values())


@contextmanager
def newer_podman(root: Path) -> Iterator[Path]:
    """As Podman 5 keeps it: the same records in SQLite. Made here, because Debian's Podman is older."""
    (root / "libpod").mkdir(parents=True)
    config = {
        "name": "data",
        "volumeDriver": "local",
        "labels": {"tier": "db"},
        "volumeOptions": {"o": "uid=5", "UID": "5"},
        "createdAt": "2025-01-02T03:04:05.678901234+01:00",
        "isAnon": False,
    }
    with closing(sqlite3.connect(root / "db.sql")) as database:
        database.executescript("""
            CREATE TABLE DBConfig(ID INTEGER, SchemaVersion INTEGER, GraphRoot TEXT, VolumeDir TEXT);
            CREATE TABLE VolumeConfig(Name TEXT PRIMARY KEY, StorageID TEXT, JSON TEXT);
            CREATE TABLE ContainerConfig(ID TEXT PRIMARY KEY, Name TEXT, PodID TEXT, JSON TEXT);
            CREATE TABLE ContainerVolume(ContainerID TEXT, VolumeName TEXT);
        """)
        database.execute("INSERT INTO DBConfig VALUES (1, 1, ?, ?)", (str(root), str(root / "volumes")))
        for name, driver in (("data", "local"), ("remote", "sshfs"), ("picture", "image"), ("used", "local")):
            record = {**config, "name": name, "volumeDriver": driver}
            database.execute("INSERT INTO VolumeConfig VALUES (?, NULL, ?)", (name, json.dumps(record)))
        database.execute("INSERT INTO ContainerConfig VALUES ('c1', 'web', NULL, '{}')")
        database.execute("INSERT INTO ContainerVolume VALUES ('c1', 'used')")
        database.commit()
    for name in ("data", "used"):
        (root / "volumes" / name / "_data").mkdir(parents=True)
    yield root


def test_a_newer_podmans_memory_is_read_too(daemon: LiveDaemon, tmp_path: Path) -> None:
    with newer_podman(daemon.home / f"storage-{tmp_path.name}") as root:
        found = adopt(daemon, root, code=1)
    assert [name for name, it in found.items() if it["Done"]] == ["data"]
    assert found["remote"]["Reason"] == "its data is kept by the driver sshfs"
    assert found["picture"]["Reason"] == "it shows an image of Podman's (driver image)"
    assert found["used"]["Reason"] == "containers there refer to it: web"
    mine = daemon.inspect("volume", "data")
    assert (mine["Labels"], mine["Options"]) == ({"tier": "db"}, {"o": "uid=5"})
    assert mine["CreatedAt"].startswith("2025-01-02T02:04:05")
