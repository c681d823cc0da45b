"""Driver options of local volumes through the stock docker command: what is accepted, mounted, refused and said."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.asking import BY_PEER, Api
from support.daemon import LiveDaemon

ours = pytest.mark.skipif(BY_PEER, reason="Docker has no such thing")


def create(daemon: LiveDaemon, name: str, *options: str, code: int = 0) -> str:
    words = [word for option in options for word in ("--opt", option)]
    done = daemon.docker("volume", "create", *words, name, code=code)
    return done.stderr if code else done.stdout


def run_in(daemon: LiveDaemon, volume: str, *command: str, code: int = 0) -> str:
    done = daemon.docker("run", "--rm", "-v", f"{volume}:/v", "busybox", *command, code=code)
    return done.stderr if code else done.stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    loop = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    yield loop
    subprocess.run(["losetup", "-d", loop], check=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["colour=red"], 'create data: invalid option: "colour"'),
        (["device=/x"], 'create data: missing required option: "type"'),
        (["type=tmpfs"], 'create data: missing required option: "device"'),
        (["type=tmpfs", "o=size=1m"], 'create data: missing required option: "device"'),
        (["device=/x", "o=bind"], 'create data: missing required option: "type"'),
        (["o=noexec"], "create data: missing required option: "),
        (["o="], "create data: missing required option: "),
    ],
)
def test_what_docker_refuses_is_refused_with_its_words(daemon: LiveDaemon, options: list[str], said: str) -> None:
    assert said in create(daemon, "data", *options, code=1)
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_options_are_shown_as_they_were_given(daemon: LiveDaemon, api: Api) -> None:
    create(daemon, "ram", "type=tmpfs", "device=tmpfs", "o=size=1m,uid=1000")
    assert daemon.inspect("volume", "ram")["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}


def test_nothing_is_touched_before_somebody_uses_it(daemon: LiveDaemon) -> None:
    create(daemon, "later", "type=none", "device=/no/such/directory", "o=bind")
    create(daemon, "never", "type=nofs", "device=/dev/no-such-device")
    said = run_in(daemon, "later", "true", code=127)
    data = daemon.volume_data("later")
    assert (
        f"error while mounting volume '{data}': failed to mount local volume: "
        f"mount /no/such/directory:{data}, flags: 0x1000: no such file or directory"
    ) in said
    assert "failed to mount local volume" in run_in(daemon, "never", "true", code=125)


def test_a_tmpfs_volume_is_memory_with_its_options(daemon: LiveDaemon) -> None:
    create(daemon, "ram", "type=tmpfs", "device=tmpfs", "o=size=1m,uid=1000,mode=0700")
    assert run_in(daemon, "ram", "stat", "-c", "%u %a", "/v") == "1000 700\n"
    assert "1024" in run_in(daemon, "ram", "df", "-k", "/v")
    with daemon.spawned("run", "--rm", "--name", "user", "-v", "ram:/v", "busybox", "sleep", "1000"):
        while daemon.docker("exec", "user", "true", code=None).returncode:
            pass
        daemon.docker("exec", "user", "sh", "-c", "echo shared > /v/note")
        assert run_in(daemon, "ram", "cat", "/v/note") == "shared\n"
        daemon.docker("rm", "-f", "user")
    assert run_in(daemon, "ram", "ls", "/v") == "", "it dies with its last user"


def test_what_cannot_be_mounted_to_be_filled_fails_the_create(daemon: LiveDaemon) -> None:
    create(daemon, "later", "type=none", "device=/no/such/directory", "o=bind")
    said = daemon.docker("create", "--name", "one", "-v", "later:/etc", "busybox", "true", code=1).stderr
    data = daemon.volume_data("later")
    assert f"failed to mount local volume: mount /no/such/directory:{data}, flags: 0x1000: no such file" in said
    # Docker 20.10 does not say what it was about, later ones do.
    assert BY_PEER or f"failed to populate volume: error while mounting volume '{data}': failed" in said
    assert daemon.docker("ps", "-aq").stdout == ""
    assert daemon.docker("create", "--name", "one", "-v", "later:/nowhere", "busybox", "true").stdout


@ours
def test_nothing_is_copied_into_memory_that_nobody_uses(daemon: LiveDaemon, tmp_path: Path) -> None:
    """With Docker it is gone as soon as the copy ends."""
    (tmp_path / "note").write_text("mine\n")
    create(daemon, "ram", "type=tmpfs", "device=tmpfs")
    daemon.docker("create", "--name", "one", "-v", "ram:/v", "busybox", "sleep", "1000")
    refused = daemon.docker("cp", tmp_path / "note", "one:/v/", code=1).stderr
    assert "there only while the container runs. Start the container first" in refused
    daemon.docker("run", "-d", "--name", "two", "-v", "ram:/v", "busybox", "sleep", "1000")
    daemon.docker("cp", tmp_path / "note", "one:/v/")
    assert daemon.docker("exec", "two", "cat", "/v/note").stdout == "mine\n"


def test_a_bind_volume_is_the_host_s_directory(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine\n")
    create(daemon, "host", "type=none", f"device={tmp_path}", "o=bind,ro")
    assert run_in(daemon, "host", "cat", "/v/note") == "mine\n"
    assert "read-only" in run_in(daemon, "host", "touch", "/v/new", code=1).lower()
    daemon.docker("volume", "rm", "host")
    assert (tmp_path / "note").read_text() == "mine\n"


def test_a_block_device_keeps_its_files(daemon: LiveDaemon, disk: str) -> None:
    create(daemon, "disk", "type=ext4", f"device={disk}", "o=noatime")
    run_in(daemon, "disk", "sh", "-c", "echo kept > /v/note")
    assert run_in(daemon, "disk", "cat", "/v/note") == "kept\n"
    assert "noatime" in run_in(daemon, "disk", "grep", " /v ", "/proc/mounts")
    daemon.docker("volume", "rm", "disk")


@ours
@pytest.mark.parametrize("options", [["uid=1000", "gid=1001", "mode=0750"], ["o=uid=1000,gid=1001,mode=0750"]])
def test_a_volume_has_the_owner_it_was_made_with(daemon: LiveDaemon, options: list[str]) -> None:
    create(daemon, "owned", *options)
    assert run_in(daemon, "owned", "stat", "-c", "%u:%g %a", "/v") == "1000:1001 750\n"
    # Copy-up would give it the owner and mode that the image has there.
    daemon.docker("run", "--rm", "-v", "owned:/etc", "busybox", "true")
    assert run_in(daemon, "owned", "stat", "-c", "%u:%g %a", "/v") == "1000:1001 750\n"
    daemon.restart()
    assert run_in(daemon, "owned", "stat", "-c", "%u:%g %a", "/v") == "1000:1001 750\n"
    daemon.docker("volume", "rm", "owned")
    daemon.orlop("volume", "restore", "owned")
    assert run_in(daemon, "owned", "stat", "-c", "%u:%g %a", "/v") == "1000:1001 750\n"


@ours
@pytest.mark.parametrize("option", ["nocopy", "o=nocopy,uid=0"])
def test_a_volume_may_refuse_to_be_filled(daemon: LiveDaemon, option: str) -> None:
    create(daemon, "bare", option)
    assert run_in(daemon, "bare", "ls", "/v") == ""
    assert daemon.docker("run", "--rm", "-v", "bare:/etc", "busybox", "ls", "-A", "/etc").stdout.split() in (
        [],
        ["hostname", "hosts", "resolv.conf"],
    )


@ours
def test_a_network_volume_that_cannot_be_mounted_says_why(daemon: LiveDaemon) -> None:
    create(daemon, "nas", "type=nfs", "device=no.such.host.invalid:/export", "o=rw,nfsvers=4")
    said = run_in(daemon, "nas", "true", code=125)
    assert "error resolving passed in network volume address: no.such.host.invalid" in said
    create(daemon, "local", "type=nfs", "device=localhost:/export", "o=rw,nfsvers=4")
    said = run_in(daemon, "local", "true", code=125)
    assert "failed to mount local volume: mount localhost:/export:" in said and "addr=127.0.0.1" in said
    daemon.docker("volume", "rm", "nas", "local")


@ours
def test_a_tmpfs_volume_survives_the_daemon(daemon: LiveDaemon) -> None:
    create(daemon, "ram", "type=tmpfs", "device=tmpfs")
    daemon.docker("run", "-d", "--name", "one", "-v", "ram:/v", "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--name", "two", "-v", "ram:/v", "busybox", "sleep", "1000")
    daemon.docker("exec", "one", "sh", "-c", "echo kept > /v/note")
    daemon.restart()
    daemon.docker("rm", "-f", "one")
    assert daemon.docker("exec", "two", "cat", "/v/note").stdout == "kept\n"
    assert run_in(daemon, "ram", "cat", "/v/note") == "kept\n"
    data = daemon.volume_data("ram")
    assert os.path.ismount(data)
    daemon.docker("rm", "-f", "two")
    assert not os.path.ismount(data)
