"""Encrypted volumes, over a directory of this host and over object storage: what lies there is ciphertext."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, wait_for
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, seaweed

KEY = "planted-key-of-the-vault"
PLANT = "mkdir /v/planted-folder && for i in 1 2 3 4; do echo planted-content-$i > /v/planted-folder/planted-$i; done"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("encrypted") / "weed") as found:
        yield found


@pytest.fixture
def ship(daemon: LiveDaemon) -> LiveDaemon:
    daemon.orlop("secret", "create", "--force", "vault", stdin=KEY)
    return daemon


def run(ship: LiveDaemon, script: str, volume: str = "vault", code: int = 0) -> str:
    done = ship.docker("run", "--rm", "-v", f"{volume}:/v", "busybox", "sh", "-c", script, code=code)
    return done.stdout + done.stderr


def create(ship: LiveDaemon, *more: str, name: str = "vault") -> None:
    words = [word for one in ("key=secret://vault", *more) for word in ("-o", one)]
    ship.docker("volume", "create", "-d", "encrypted", *words, name)


def on_disk(ship: LiveDaemon) -> Iterator[Path]:
    for folder, _, names in os.walk(ship.data_root / "drivers"):
        yield from (Path(folder) / name for name in names)


def test_a_directory_of_this_host_holds_only_ciphertext(ship: LiveDaemon) -> None:
    create(ship)
    run(ship, PLANT)
    assert run(ship, "cat /v/planted-folder/planted-4") == "planted-content-4\n"
    held = [path for path in on_disk(ship) if ".inner" in path.parts]
    assert len([path for path in held if path.name != "gocryptfs.diriv"]) > 4
    for path in held:
        assert "planted" not in str(path) and b"planted" not in path.read_bytes()
    assert ship.docker("volume", "ls", "-q").stdout == "vault\n", "the volume below is not listed"
    assert not list(ship.exec_root.glob("programs/encrypted/*"))


def test_object_storage_gets_only_ciphertext_and_all_of_it(ship: LiveDaemon, storage: Seaweed, tmp_path: Path) -> None:
    ship.orlop("secret", "create", "--force", "s3key", stdin=SECRET_KEY)
    storage.make_bucket("vault")
    bucket = ("driver=cloud", "type=s3", f"endpoint={storage.endpoint}", "bucket=vault")
    keys = (f"access-key={ACCESS_KEY}", "secret-key=secret://s3key")
    create(ship, *bucket, *keys)
    run(ship, PLANT)
    storage.rclone("copy", "sea:vault", str(tmp_path / "copy"))
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert len(files) == 1 + 2 + 4  # the configuration, the marks of two directories, the files
    for path in files:
        assert "planted" not in str(path.relative_to(tmp_path)) and b"planted" not in path.read_bytes()
    ship.docker("volume", "rm", "vault")
    create(ship, *bucket, *keys, name="elsewhere")
    assert run(ship, "cat /v/planted-folder/planted-3", "elsewhere") == "planted-content-3\n"
    for path in on_disk(ship):
        text = path.read_bytes() if path.is_file() else b""
        assert SECRET_KEY.encode() not in text and KEY.encode() not in text


def test_it_is_removed_restored_renamed_and_destroyed_with_what_is_below(ship: LiveDaemon) -> None:
    create(ship)
    run(ship, PLANT)
    ship.docker("volume", "rm", "vault")
    create(ship)
    assert run(ship, "ls /v") == "", "a new volume of that name is a new one"
    ship.orlop("volume", "restore", "vault", "--as", "again")
    ship.orlop("volume", "rename", "again", "renamed")
    ship.restart()
    assert run(ship, "cat /v/planted-folder/planted-1", "renamed") == "planted-content-1\n"


def test_whoever_is_killed_what_was_written_stays(ship: LiveDaemon) -> None:
    create(ship)
    ship.docker("run", "-d", "--name", "user", "-v", "vault:/v", "busybox", "sleep", "1000")
    ship.docker("exec", "user", "sh", "-c", "echo one > /v/one")
    ship.restart()
    ship.docker("exec", "user", "sh", "-c", "echo two > /v/two")
    (record,) = ship.exec_root.glob("programs/encrypted/*/program.json")
    os.kill(int(json.loads(record.read_text())["pid"]), signal.SIGKILL)
    ship.restart()
    ship.docker("rm", "-f", "user")
    assert run(ship, "cat /v/one /v/two") == "one\ntwo\n"


def test_a_running_container_gets_its_files_back_when_gocryptfs_is_killed(ship: LiveDaemon) -> None:
    create(ship)
    ship.docker("run", "-d", "--name", "user", "-v", "vault:/v", "busybox", "sleep", "1000")
    ship.docker("exec", "user", "sh", "-c", "echo one > /v/one")
    (record,) = ship.exec_root.glob("programs/encrypted/*/program.json")
    os.kill(int(json.loads(record.read_text())["pid"]), signal.SIGKILL)
    wait_for("it", lambda: ship.docker("exec", "user", "cat", "/v/one", code=None).stdout == "one\n", 30)
    ship.docker("exec", "user", "sh", "-c", "echo two > /v/two")
    ship.docker("rm", "-f", "user")
    assert run(ship, "cat /v/one /v/two") == "one\ntwo\n"


def test_a_key_that_does_not_fit_or_is_gone_is_said(ship: LiveDaemon) -> None:
    create(ship)
    run(ship, "echo kept > /v/a")
    ship.orlop("secret", "create", "--force", "vault", stdin="another")
    said = run(ship, "true", code=125)
    assert "attaching volume vault: its key does not fit the encrypted data" in said and "another" not in said
    ship.orlop("secret", "create", "--force", "vault", stdin=KEY)
    assert run(ship, "cat /v/a") == "kept\n"
    refused = ship.docker("volume", "create", "-d", "encrypted", "-o", "key=plainly", "open", code=1).stderr
    assert "key names no secret" in refused and "orlop secret create" in refused
