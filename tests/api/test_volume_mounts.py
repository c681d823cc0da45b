"""Volumes that are mounted in a special way: by driver options, in part, from another's password."""

from pathlib import Path

import pytest

from orlop.kernel.mounts import bind, is_mount_point, mounts_at_or_below, unmount
from support.daemon import LiveDaemon


def run_in(daemon: LiveDaemon, *words: object, code: int | None = 0) -> str:
    done = daemon.docker("run", "--rm", "--network", "none", *words, code=code)
    return str(done.stdout if code == 0 else done.stderr)


def test_a_volume_in_memory_lives_while_a_container_uses_it(daemon: LiveDaemon) -> None:
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,uid=7")
    daemon.docker("volume", "create", *options, "ram")
    assert not is_mount_point(daemon.volume_data("ram"))
    daemon.docker("run", "-d", "--name", "first", "--network", "none", "-v", "ram:/r", "busybox", "sleep", "1000")
    daemon.docker("exec", "first", "sh", "-c", "echo shared > /r/note")
    assert run_in(daemon, "-v", "ram:/other", "busybox", "cat", "/other/note") == "shared\n"
    assert daemon.volume_data("ram").stat().st_uid == 7, "the first container still has it mounted"
    daemon.restart()
    assert daemon.docker("exec", "first", "cat", "/r/note").stdout == "shared\n"
    daemon.docker("rm", "-f", "first")
    assert not is_mount_point(daemon.volume_data("ram"))
    assert run_in(daemon, "-v", "ram:/r", "busybox", "ls", "/r") == ""
    assert daemon.docker("volume", "prune", "-f").stdout.splitlines()[0].endswith("0B")
    daemon.docker("volume", "rm", "ram")


def test_a_volume_bound_to_a_host_directory_never_costs_that_directory(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("of the host\n")
    options = ("--opt", "type=none", "--opt", f"device={tmp_path}", "--opt", "o=bind")
    daemon.docker("volume", "create", *options, "host")
    assert run_in(daemon, "-v", "host:/h", "busybox", "cat", "/h/note") == "of the host\n"
    daemon.docker("volume", "rm", "host")
    daemon.orlop("volume", "purge", "--force", "host")
    assert (tmp_path / "note").read_text() == "of the host\n"


def test_a_mount_below_a_volume_keeps_it_from_being_removed(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("of the share\n")
    daemon.docker("volume", "create", "data")
    share = daemon.volume_data("data") / "share"
    share.mkdir()
    bind(tmp_path, share)
    try:
        refused = daemon.docker("volume", "rm", "data", code=1)
        assert str(share) in refused.stderr and "umount" in refused.stderr
        daemon.orlop("volume", "prune", "-a", "-f")
    finally:
        unmount(share)
    assert (tmp_path / "note").read_text() == "of the share\n"
    daemon.docker("volume", "rm", "data")


def by_orlop(daemon: LiveDaemon, *arguments: str, code: int = 0) -> str:
    done = daemon.orlop("run", "--rm", "--network", "none", *arguments, code=code)
    return done.stdout if code == 0 else done.stderr


def test_part_of_a_volume(daemon: LiveDaemon) -> None:
    """By orlop: docker commands before 26 do not know the word."""
    run_in(daemon, "-v", "data:/d", "busybox", "sh", "-c", "mkdir /d/part; echo in > /d/part/note; ln -s /etc /d/out")
    whole = "type=volume,source=data,target=/p"
    note = by_orlop(daemon, "--mount", f"{whole},volume-subpath=part", "busybox", "sh", "-c", "cat /p/note; ls /p")
    assert note == "in\nnote\n"
    assert by_orlop(daemon, "--mount", f"{whole},volume-subpath=part/note", "busybox", "cat", "/p") == "in\n"
    refused = by_orlop(daemon, "--mount", f"{whole},volume-subpath=out", "busybox", "true", code=125)
    assert "escapes the base directory" in refused
    refused = by_orlop(daemon, "--mount", f"{whole},volume-subpath=missing", "busybox", "true", code=127)
    assert "cannot access path" in refused
    assert mounts_at_or_below(daemon.exec_root / "subpaths") == []


@pytest.mark.parametrize("what", ["volume", "container"])
def test_a_password_is_shown_to_nobody(daemon: LiveDaemon, what: str) -> None:
    words = "username=u,password=hush"
    if what == "volume":
        daemon.docker("volume", "create", "--opt", "type=cifs", "--opt", "device=//h/s", "--opt", f"o={words}", "nas")
    else:
        mount = f'type=volume,source=nas,target=/n,volume-opt=type=cifs,volume-opt=device=//h/s,"volume-opt=o={words}"'
        daemon.docker("create", "--name", "app", "--mount", mount, "busybox", "true")
        assert "hush" not in daemon.docker("container", "inspect", "app").stdout
        daemon.docker("rm", "app")
    shown = daemon.docker("volume", "inspect", "nas").stdout
    assert "hush" not in shown and "username=u" in shown
    failed = run_in(daemon, "-v", "nas:/n", "busybox", "true", code=125)
    assert "failed to mount local volume" in failed and "hush" not in failed
    daemon.docker("volume", "rm", "nas")
    assert "hush" not in daemon.orlop("volume", "ls", "--retired", "--format", "json").stdout
    assert "hush" not in daemon.logs()
