"""Volume plugins that others wrote, as they are: `rclone serve docker` on S3, and buttervolume on btrfs."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import DaemonMaker
from support.daemon import LiveDaemon, wait_for
from support.disks import mounted_disk
from support.managed_plugin import plugin_processes, write_rclone_context
from support.ports import listens
from support.rclone_plugin import RclonePlugin
from support.registry import registry
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, program, seaweed

WRITE_BACK = ("-o", "vfs-cache-mode=writes", "-o", "vfs-write-back=0s")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("s3") / "weed") as found:
        found.make_bucket("photos")
        yield found


@pytest.fixture
def daemon_with_rclone(
    make_daemon: DaemonMaker, storage: Seaweed, tmp_path: Path
) -> Iterator[tuple[LiveDaemon, RclonePlugin]]:
    daemon = make_daemon()
    far = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": storage.endpoint,
        "ACCESS_KEY_ID": ACCESS_KEY,
        "SECRET_ACCESS_KEY": SECRET_KEY,
    }
    plugin = RclonePlugin(daemon.plugins, tmp_path / "rclone", {"far": far})
    plugin.start()
    yield daemon, plugin
    if plugin.process is None:
        plugin.start()
    daemon.clear()
    plugin.close()


def write_and_stay(daemon: LiveDaemon, mount: str, script: str) -> None:
    """Not to end before the upload: rclone breaks off what it is uploading when the volume is unmounted."""
    daemon.docker("run", "-d", "--name", "writer", "-v", mount, "busybox", "sh", "-c", f"{script}; sleep 1000")


def test_rclone_on_s3_from_create_to_rm(daemon_with_rclone: tuple[LiveDaemon, RclonePlugin], storage: Seaweed) -> None:
    daemon, _ = daemon_with_rclone
    docker = daemon.docker
    docker("volume", "create", "-d", "rclone", "-o", "remote=far:photos", *WRITE_BACK, "photos")
    write_and_stay(daemon, "photos:/p", "echo hi > /p/a")
    wait_for("the upload", lambda: storage.names("photos") == ["a"])
    docker("rm", "-f", "writer")
    assert storage.read("photos/a") == "hi\n"
    for name in ("one", "two"):
        docker("run", "-d", "--name", name, "-v", "photos:/p", "busybox", "sleep", "1000")
    docker("exec", "one", "sh", "-c", "echo shared > /p/b")
    assert docker("exec", "two", "cat", "/p/b").stdout == "shared\n"
    assert "volume is in use" in docker("volume", "rm", "photos", code=1).stderr

    daemon.restart()
    assert docker("exec", "two", "cat", "/p/a").stdout == "hi\n", "the containers noticed nothing"
    docker("rm", "-f", "one")
    assert docker("exec", "two", "cat", "/p/a").stdout == "hi\n", "the other's mount is its own"
    docker("rm", "-f", "two")
    docker("volume", "rm", "photos")
    assert docker("volume", "ls", "-q").stdout == ""
    assert "a" in storage.names("photos"), "a volume leads to the bucket, and is not the bucket"


def test_rclone_restarts_under_a_running_container(daemon_with_rclone: tuple[LiveDaemon, RclonePlugin]) -> None:
    daemon, plugin = daemon_with_rclone
    docker = daemon.docker
    docker("volume", "create", "-d", "rclone", "-o", "remote=far:photos", *WRITE_BACK, "photos")
    docker("run", "-d", "--name", "app", "-v", "photos:/p", "busybox", "sleep", "1000")
    docker("exec", "app", "sh", "-c", "echo kept > /p/c")
    plugin.stop()
    assert docker("volume", "ls", "-q").stdout == "photos\n"
    assert "found" in json.loads(docker("volume", "inspect", "photos").stdout)[0]["Status"]["Health"]
    plugin.start()
    docker("restart", "-t", "0", "app")
    assert docker("exec", "app", "cat", "/p/c").stdout == "kept\n"


def test_rclone_absent_while_the_daemon_starts(daemon_with_rclone: tuple[LiveDaemon, RclonePlugin]) -> None:
    daemon, plugin = daemon_with_rclone
    docker = daemon.docker
    docker("volume", "create", "-d", "rclone", "-o", "remote=far:photos", *WRITE_BACK, "photos")
    docker("run", "-d", "--restart", "always", "--name", "app", "-v", "photos:/p", "busybox", "sleep", "1000")
    docker("exec", "app", "sh", "-c", "echo kept > /p/d")
    pid = daemon.inspect("container", "app")["State"]["Pid"]
    daemon.kill()
    os.kill(pid, 9)
    plugin.stop()
    daemon.start()
    wait_for("the wait", lambda: "app" in docker("ps", "--filter", "status=restarting").stdout)
    plugin.start()
    wait_for("the container", lambda: "app" in docker("ps", "--filter", "status=running").stdout, 40)
    assert docker("exec", "app", "cat", "/p/d").stdout == "kept\n"


@pytest.fixture
def daemon_with_buttervolume(make_daemon: DaemonMaker, tmp_path: Path) -> Iterator[LiveDaemon]:
    if not Path(program("buttervolume")).exists():
        pytest.skip("buttervolume is not installed")
    daemon = make_daemon()
    daemon.plugins.mkdir()
    with mounted_disk(tmp_path, 200 << 20, "btrfs") as disk:
        places = {"VOLUMES_PATH": f"{disk}/volumes/", "SNAPSHOTS_PATH": f"{disk}/snapshots/"}
        socket = daemon.plugins / "btrfs.sock"
        settings = {**places, "SCHEDULE": f"{tmp_path}/schedule.csv", "SOCKET": str(socket), "RUNPATH": str(tmp_path)}
        variables = {**os.environ, **{f"BUTTERVOLUME_{key}": value for key, value in settings.items()}}
        with (tmp_path / "log").open("wb") as said:
            process = subprocess.Popen([program("buttervolume"), "run"], env=variables, stdout=said, stderr=said)
        try:
            wait_for("buttervolume to listen", lambda: listens(socket))
            yield daemon
            daemon.clear()
        finally:
            process.kill()
            process.wait()


def test_buttervolume_on_btrfs(daemon_with_buttervolume: LiveDaemon, tmp_path: Path) -> None:
    daemon = daemon_with_buttervolume
    docker = daemon.docker
    docker("volume", "create", "-d", "btrfs", "data")
    docker("run", "-d", "--name", "one", "-v", "data:/x", "busybox", "sleep", "1000")
    docker("run", "--rm", "-v", "data:/x", "busybox", "sh", "-c", "echo shared > /x/note")
    assert docker("exec", "one", "cat", "/x/note").stdout == "shared\n"
    assert (tmp_path / "disk/volumes/data/note").read_text() == "shared\n"
    assert subprocess.run(["btrfs", "subvolume", "show", tmp_path / "disk/volumes/data"], check=False).returncode == 0
    daemon.restart()
    assert docker("exec", "one", "cat", "/x/note").stdout == "shared\n"
    assert "volume is in use" in docker("volume", "rm", "data", code=1).stderr
    docker("rm", "-f", "one")
    docker("volume", "rm", "data")
    assert not (tmp_path / "disk/volumes/data").exists()
    with suppress(FileNotFoundError):
        assert list((daemon.exec_root / "plugins/btrfs").iterdir()) == []


@pytest.fixture
def packed_rclone(make_daemon: DaemonMaker, storage: Seaweed, tmp_path: Path) -> Iterator[LiveDaemon]:
    """rclone as a managed plugin, installed from a registry, with its key set by its user."""
    daemon = make_daemon()
    far = {
        "RCLONE_CONFIG_FAR_TYPE": "s3",
        "RCLONE_CONFIG_FAR_PROVIDER": "Other",
        "RCLONE_CONFIG_FAR_ENDPOINT": storage.endpoint,
        "RCLONE_CONFIG_FAR_ACCESS_KEY_ID": ACCESS_KEY,
        "RCLONE_CONFIG_FAR_SECRET_ACCESS_KEY": "secret://s3key",
    }
    daemon.orlop("secret", "create", "s3key", "-", stdin=SECRET_KEY)
    with registry(tmp_path / "registry") as server:
        name = f"{server.name}/tests/rclone:1"
        daemon.docker("plugin", "create", name, write_rclone_context(tmp_path / "context", list(far)))
        daemon.docker("plugin", "push", name)
        daemon.docker("plugin", "rm", name)
        settings = [f"{key}={value}" for key, value in far.items()]
        daemon.docker("plugin", "install", "--grant-all-permissions", "--alias", "rclone", name, *settings)
    yield daemon
    if not daemon.is_running:
        daemon.start()
    daemon.clear()
    daemon.docker("plugin", "rm", "-f", "rclone")


def test_rclone_as_a_managed_plugin(packed_rclone: LiveDaemon, storage: Seaweed) -> None:
    daemon, docker = packed_rclone, packed_rclone.docker
    options = ("-o", "remote=far:photos/managed", *WRITE_BACK)
    docker("volume", "create", "-d", "rclone", *options, "managed")
    write_and_stay(daemon, "managed:/p", "echo hi > /p/m")
    wait_for("the upload", lambda: "managed/m" in storage.names("photos"))
    docker("rm", "-f", "writer")
    docker("run", "-d", "--name", "app", "-v", "managed:/p", "busybox", "sleep", "1000")
    daemon.restart()
    assert docker("exec", "app", "cat", "/p/m").stdout == "hi\n", "neither container nor plugin noticed"
    assert docker("run", "--rm", "-v", "managed:/p", "busybox", "cat", "/p/m").stdout == "hi\n"

    (pid,) = plugin_processes(daemon)
    os.kill(pid, 9)
    wait_for("another process", lambda: plugin_processes(daemon) not in ([], [pid]))
    wait_for("its answer", lambda: daemon.inspect("volume", "managed")["Status"]["Health"] == "ok")
    docker("restart", "-t", "0", "app")
    assert docker("exec", "app", "cat", "/p/m").stdout == "hi\n"

    shown = docker("plugin", "inspect", "rclone").stdout + docker("volume", "inspect", "managed").stdout
    for said in (shown, daemon.whole_log(), docker("plugin", "ls", "--no-trunc").stdout):
        assert SECRET_KEY not in said
    assert "secret://s3key" in shown
