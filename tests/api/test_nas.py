"""A share of a NAS as a volume, by each protocol: the same bytes on both sides."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from orlop.drivers.runtimes.cgroups import find_layout, is_frozen
from support import nas
from support.daemon import LiveDaemon, wait_for
from support.nas import Nas

SERVERS: dict[str, Callable[[Path], AbstractContextManager[Nas]]] = {
    "smb": nas.samba,
    "sftp": nas.sftp,
    "webdav": nas.webdav,
}


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nas]:
    # A short path, and one that every user may pass through, as Samba's does.
    folder = tmp_path_factory.mktemp("nas") / request.param
    folder.mkdir()
    with SERVERS[request.param](folder) as found:
        yield found


@pytest.fixture
def ship(daemon: LiveDaemon, server: Nas) -> LiveDaemon:
    for name, value in server.secrets.items():
        daemon.orlop("secret", "create", "--force", name, stdin=value)
    return daemon


def create(ship: LiveDaemon, options: dict[str, str], code: int = 0) -> str:
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ship.docker("volume", "create", "-d", "nas", *words, "team", code=code).stderr


def test_both_sides_see_the_same_bytes(ship: LiveDaemon, server: Nas) -> None:
    create(ship, server.options)
    (server.data / "from-there").write_text("there\n")
    write = "cat /t/from-there; mkdir -p /t/d; echo here > /t/d/from-here; dd if=/dev/zero of=/t/big bs=1M count=8"
    said = ship.docker("run", "--rm", "-v", "team:/t", "busybox", "sh", "-c", write)
    assert said.stdout == "there\n"
    assert (server.data / "d/from-here").read_text() == "here\n"
    assert (server.data / "big").stat().st_size == 8 << 20
    assert ship.docker("run", "--rm", "-v", "team:/t:ro", "busybox", "cat", "/t/d/from-here").stdout == "here\n"


def test_a_share_with_another_mark_is_refused(ship: LiveDaemon, server: Nas) -> None:
    for path in server.data.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    create(ship, server.options)
    assert ship.docker("run", "--rm", "-v", "team:/t", "busybox", "ls", "-A", "/t").stdout == ""
    (mark,) = server.data.iterdir()
    other = mark.rename(mark.with_name(".orlop-mark-" + "0" * 32))
    refused = ship.docker("run", "--rm", "-v", "team:/t", "busybox", "touch", "/t/x", code=125).stderr
    assert "is the storage marked 000000000000" in refused and mark.name.removeprefix(".orlop-mark-")[:12] in refused
    other.rename(mark)
    ship.docker("run", "--rm", "-v", "team:/t", "busybox", "touch", "/t/x")
    assert (server.data / "x").exists()


def test_a_daemon_that_is_killed_leaves_the_container_its_share(ship: LiveDaemon, server: Nas) -> None:
    create(ship, server.options)
    ship.docker("run", "-d", "--name", "user", "-v", "team:/t", "busybox", "sleep", "1000")
    ship.kill()
    ship.start()
    ship.docker("exec", "user", "sh", "-c", "echo after > /t/after")
    ship.docker("rm", "-f", "user")
    assert (server.data / "after").read_text() == "after\n"
    assert not list(ship.exec_root.glob("programs/nas/*"))


def test_who_is_not_let_in_does_not_start_on_an_empty_directory(ship: LiveDaemon, server: Nas) -> None:
    ship.orlop("secret", "create", "--force", "wrong", stdin=_other_key(server))
    wrong = {key: "secret://wrong" if value == "secret://nas" else value for key, value in server.options.items()}
    create(ship, wrong)
    refused = ship.docker("run", "--rm", "-v", "team:/t", "busybox", "true", code=125).stderr
    assert "attaching volume team" in refused and "does not let us in" in refused
    assert not any(value in refused for value in server.secrets.values())


def _other_key(server: Nas) -> str:
    """Of the same kind, and nobody's."""
    if "key" not in server.options:
        return "not-the-password"
    path = server.data.parent / "stranger"
    if not path.exists():
        os.spawnlp(os.P_WAIT, "ssh-keygen", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
    return path.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 'missing required option: "protocol"'),
        ({"protocol": "nfs"}, "protocol is 'nfs'"),
        ({"protocol": "smb", "host": "h"}, 'missing required option: "share"'),
        ({"protocol": "sftp", "host": "h", "password": "x"}, 'missing required option: "host-key"'),
        ({"protocol": "sftp", "host": "h"}, "sftp needs a password or a key"),
        ({"protocol": "smb", "host": "h", "share": "a/b"}, "share has a slash"),
        ({"protocol": "webdav", "url": "http://h", "share": "x"}, 'invalid option: "share"'),
        ({"protocol": "smb", "host": "h", "share": "s", "port": "ssh"}, "port is 'ssh'"),
    ],
)
def test_a_wrong_option_is_refused_at_create(daemon: LiveDaemon, options: dict[str, str], said: str) -> None:
    assert said in create(daemon, options, code=1)


def test_a_host_that_is_another_gets_neither_data_nor_password(daemon: LiveDaemon, tmp_path: Path) -> None:
    with nas.sftp(tmp_path) as server:
        daemon.orlop("secret", "create", "--force", "nas", stdin=server.secrets["nas"])
        other = " ".join((tmp_path / "user.pub").read_text().split()[:2])
        create(daemon, {**server.options, "host-key": other})
        refused = daemon.docker("run", "--rm", "-v", "team:/t", "busybox", "true", code=125).stderr
        assert "attaching volume team" in refused and "key mismatch" in refused


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nas]:
    folder = tmp_path_factory.mktemp("nas") / "cut"
    folder.mkdir()
    with nas.samba(folder) as found:
        yield found


def health(ship: LiveDaemon) -> str:
    found: str = ship.inspect("volume", "team")["Status"]["Health"]
    return found


def test_a_nas_that_hangs_or_comes_back_without_its_disk_is_found_and_its_containers_stand_still(
    daemon: LiveDaemon, share: Nas
) -> None:
    daemon.orlop("secret", "create", "--force", "nas", stdin=share.secrets["nas"])
    create(daemon, {**share.options, "on-hang": "freeze"})
    user = daemon.docker("run", "-d", "--name", "user", "-v", "team:/t", "busybox", "sleep", "1000").stdout.strip()
    wait_for("it to be well", lambda: health(daemon) == "ok")
    share.pause()
    try:
        wait_for("it to be found", lambda: health(daemon).startswith("hanging: its storage gives no answer"), 30)
        wait_for("it to stand still", lambda: is_frozen(f"/orlop/{user}", find_layout()))
    finally:
        share.go_on()
    wait_for("it to go on", lambda: not is_frozen(f"/orlop/{user}", find_layout()), 40)
    wait_for("it to be well", lambda: health(daemon) == "ok")
    (mark,) = share.data.iterdir()
    aside = mark.rename(share.data.parent / "aside")
    wait_for("the other disk to be found", lambda: "the mark" in health(daemon), 30)
    assert health(daemon).startswith("away: what is there now is not its storage")
    aside.rename(mark)
    wait_for("it to be well again", lambda: health(daemon) == "ok", 30)
    daemon.docker("rm", "-f", "user")
