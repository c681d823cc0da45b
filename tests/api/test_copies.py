"""Copies that something happens to: a client that does not read, a daemon that dies, a container that plays tricks."""

import socket
import tarfile
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, wait_for
from support.leaks import find_leaks


def begin_copy_out(daemon: LiveDaemon, path: str) -> socket.socket:
    """A client that reads the first bytes of an archive and then nothing more."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(daemon.socket))
    client.sendall(f"GET /v1.40/containers/app/archive?path={path} HTTP/1.1\r\nHost: orlop\r\n\r\n".encode())
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


@pytest.fixture
def stopped(daemon: LiveDaemon) -> LiveDaemon:
    """A container `app` that ran once, with more in it than fits into pipes and sockets."""
    script = "dd if=/dev/zero of=/big bs=1M count=20; echo kept >/data/note"
    daemon.docker("run", "--name", "app", "-v", "data:/data", "busybox", "sh", "-c", script)
    return daemon


def test_a_client_that_does_not_read_holds_up_nobody(stopped: LiveDaemon) -> None:
    with begin_copy_out(stopped, "/big"):
        stopped.docker("start", "-a", "app")
        stopped.docker("cp", "app:/data/note", "-")
        stopped.docker("rename", "app", "other")
        stopped.docker("rm", "other")
        stopped.docker("volume", "rm", "data")


def test_a_daemon_that_dies_while_copying_leaves_nothing_mounted(stopped: LiveDaemon) -> None:
    with begin_copy_out(stopped, "/big"):
        stopped.kill()
    stopped.start()
    assert "app" in stopped.docker("ps", "-a").stdout, "it answers once all is in order"
    assert [leak for leak in find_leaks([stopped.data_root, stopped.exec_root]) if leak.startswith("mount")] == []
    assert list((stopped.exec_root / "views").iterdir()) == []
    assert "kept" in stopped.docker("cp", "app:/data/note", "-").stdout
    stopped.docker("rm", "app")


def test_a_daemon_that_is_stopped_while_copying_stops(stopped: LiveDaemon) -> None:
    with begin_copy_out(stopped, "/big"):
        assert stopped.stop() == 0
    stopped.start()


def test_a_container_that_swaps_links_never_leads_outside(daemon: LiveDaemon, tmp_path: Path) -> None:
    """CVE-2018-15664. The trickster makes /data/way a directory and a link to the host's folder in turn."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the host")
    script = f"""
        mkdir -p {secret}; echo of the container >{secret}/key; cd /data; touch ready
        while :; do ln -sfn {secret} way; rm -rf way; mkdir way; echo of the container >way/key; rm -rf way; done
    """
    daemon.docker("run", "-d", "--name", "app", "-v", "data:/data", "busybox", "sh", "-c", script)
    wait_for("the trickster", (daemon.volume_data("data") / "ready").exists)
    (tmp_path / "planted").write_text("x")
    seen = set()
    for _ in range(25):
        if daemon.docker("cp", "app:/data/way/key", tmp_path / "out", code=None).returncode == 0:
            seen.add((tmp_path / "out").read_text())
        daemon.docker("cp", tmp_path / "planted", "app:/data/way/", code=None)
    assert seen <= {"of the container\n", ""}
    assert [path.name for path in secret.iterdir()] == ["key"]
    assert (secret / "key").read_text() == "of the host"


def test_an_upload_that_breaks_off_is_refused(stopped: LiveDaemon, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar"
    (tmp_path / "file").write_bytes(bytes(100_000))
    with tarfile.open(whole, "w") as tar:
        tar.add(tmp_path / "file", "file")
    refused = stopped.docker("cp", "-", "app:/data", stdin=whole.read_bytes()[:50_000], code=1).stderr
    assert "cut off" in refused
    assert "not a tar archive" in stopped.docker("cp", "-", "app:/data", stdin=b"nonsense" * 200, code=1).stderr
