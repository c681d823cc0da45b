"""Object storage that fails while it is used: what was written stays, is counted, says why it is not there yet, and
gets there once whoever can has mended it. A user acts on what `docker volume inspect` and the daemon's log say."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonMaker
from support.cut import relay
from support.daemon import LiveDaemon, wait_for
from support.seaweed import WRITER_ACCESS_KEY, WRITER_SECRET_KEY, Seaweed, seaweed


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("trouble") / "weed") as found:
        yield found


@pytest.fixture
def bucket(storage: Seaweed, request: pytest.FixtureRequest) -> str:
    name = f"t{abs(hash(request.node.name)) % 10**8}"
    storage.make_bucket(name)
    return name


@pytest.fixture
def ship(daemon: LiveDaemon) -> LiveDaemon:
    daemon.orlop("secret", "create", "--force", "s3key", stdin=WRITER_SECRET_KEY)
    return daemon


def start(ship: LiveDaemon, endpoint: str, bucket: str, *more: str) -> None:
    """A container that has the volume, mounted and looked at."""
    options = ["type=s3", f"endpoint={endpoint}", f"bucket={bucket}", "upload-wait=1"]
    options += [f"access-key={WRITER_ACCESS_KEY}", "secret-key=secret://s3key", *more]
    ship.docker("volume", "create", "-d", "cloud", *(word for each in options for word in ("-o", each)), "photos")
    ship.docker("run", "-d", "--name", "user", "-v", "photos:/p", "busybox", "sleep", "1000")
    ship.docker("exec", "user", "ls", "/p")


def status(ship: LiveDaemon) -> dict[str, Any]:
    found: dict[str, Any] = ship.inspect("volume", "photos")["Status"]
    return found


def wait_for_status(ship: LiveDaemon, what: str, probe: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    last: dict[str, Any] = {}

    def look() -> bool:
        last.update(status(ship))
        return probe(last)

    wait_for(what, look, 60)
    return last


def programs(ship: LiveDaemon) -> list[Path]:
    return list(ship.exec_root.glob("programs/cloud/*/program.json"))


def write(ship: LiveDaemon, text: str, name: str = "a") -> None:
    ship.docker("exec", "user", "sh", "-c", f"echo {text} > /p/{name}")


def wait_for_upload(ship: LiveDaemon, storage: Seaweed, bucket: str) -> None:
    wait_for("the upload", lambda: "a" in storage.names(bucket), 90)
    assert storage.read(f"{bucket}/a") == "precious\n"


def test_a_bucket_that_vanished_is_not_made_anew_and_nothing_is_lost(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    start(ship, storage.endpoint, bucket)
    storage.rclone("purge", f"sea:{bucket}")
    write(ship, "precious")
    found = wait_for_status(ship, "the reason", lambda status: bool(status["Pending"].get("Why")))
    assert found["Pending"]["Files"] == 1 and "AccessDenied" in found["Pending"]["Why"]
    wait_for_status(ship, "its health", lambda status: "the mark" in status["Health"])
    assert f"{bucket}\n" not in storage.rclone("lsf", "--dirs-only", "sea:").replace("/", "")
    ship.docker("rm", "-f", "user")
    assert "1 files (9 bytes) were written and are not uploaded yet: " in ship.whole_log()
    assert status(ship)["Pending"]["Files"] == 1
    storage.make_bucket(bucket)
    wait_for_upload(ship, storage, bucket)


def test_a_network_that_is_cut_is_told_and_waited_for(ship: LiveDaemon, storage: Seaweed, bucket: str) -> None:
    with relay(storage.ports["-s3.port"]) as network:
        start(ship, f"http://127.0.0.1:{network.port}", bucket)
        network.cut()
        write(ship, "precious")
        assert ship.docker("exec", "user", "cat", "/p/a").stdout == "precious\n", "what is in the cache can be read"
        found = wait_for_status(ship, "the reason", lambda status: bool(status["Pending"].get("Why")))
        assert "connection refused" in found["Pending"]["Why"] and found["Pending"]["Files"] == 1
        wait_for_status(ship, "its health", lambda status: "its storage" in status["Health"])
        refused = ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "cat", "/p/a").stdout
        assert refused == "precious\n", "who shares the mount needs no network for it"
        network.mend()
        wait_for_upload(ship, storage, bucket)
        wait_for_status(ship, "it to be well", lambda status: status["Health"] == "ok")
        ship.docker("rm", "-f", "user")


def test_a_key_that_is_taken_away_is_told_and_a_new_one_brings_everything_there(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    """Its program is started with the new key when nobody uses the volume any more."""
    start(ship, storage.endpoint, bucket)
    ship.docker("rm", "-f", "user")
    ship.orlop("secret", "create", "--force", "s3key", stdin="not-the-key-any-more")
    said = ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "true", code=125).stderr
    assert "does not let us in" in said and "Check the keys" in said and "not-the-key" not in said
    ship.orlop("secret", "create", "--force", "s3key", stdin=WRITER_SECRET_KEY)
    ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "sh", "-c", "echo precious > /p/a")
    assert storage.read(f"{bucket}/a") == "precious\n"


def test_uploads_go_on_after_the_daemon_and_its_program_are_killed_together(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    """Nobody uses it any more, and nothing is known but what lies on the disk."""
    others = set(programs(ship))  # of volumes before, which may still be uploading
    with relay(storage.ports["-s3.port"]) as network:
        start(ship, f"http://127.0.0.1:{network.port}", bucket)
        network.cut()
        write(ship, "precious")
        ship.docker("rm", "-f", "user")
        (record,) = set(programs(ship)) - others
        ship.kill()
        os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
        ship.start()
        wait_for_status(ship, "the count", lambda status: status["Pending"]["Files"] == 1)
        assert "going on with 1 files that were not uploaded" in ship.whole_log()
        ship.restart()
        network.mend()
        wait_for_upload(ship, storage, bucket)
        wait_for("the program to end", lambda: not list(ship.exec_root.glob("programs/cloud/*")), 60)
        assert status(ship)["Pending"]["Files"] == 0


def test_a_cache_whose_disk_is_full_says_so_and_has_room_again_once_it_is_uploaded(
    small_disk: Callable[[int], Path], make_daemon: DaemonMaker, storage: Seaweed, bucket: str
) -> None:
    ship = make_daemon(small_disk(48 << 20) / "root")
    ship.orlop("secret", "create", "s3key", stdin=WRITER_SECRET_KEY)
    start(ship, storage.endpoint, bucket)
    storage.pause()
    try:
        fill = "i=0; while dd if=/dev/zero of=/p/f$i bs=1M count=8; do i=$((i+1)); done; echo $i"
        said = ship.docker("exec", "user", "sh", "-c", fill)
        whole = int(said.stdout)
        assert "Input/output error" in said.stderr and whole >= 2
        assert "the disk of its cache is full" in status(ship)["Pending"]["Why"]
    finally:
        storage.go_on()
    wait_for_status(ship, "the uploads", lambda status: not status["Pending"]["Files"])
    sizes = dict(
        reversed(line.split()[:2])
        for line in storage.rclone("lsf", "--format", "sp", "--separator", " ", f"sea:{bucket}").splitlines()
    )
    assert [sizes[f"f{number}"] for number in range(whole)] == [str(8 << 20)] * whole
    again = ("exec", "user", "dd", "if=/dev/zero", "of=/p/again", "bs=1M", "count=8")
    wait_for("room", lambda: ship.docker(*again, code=None).returncode == 0, 40)
    ship.docker("rm", "-f", "user")
    wait_for("the last one", lambda: "again" in storage.names(bucket))


def test_what_one_address_does_not_take_another_gets(ship: LiveDaemon, storage: Seaweed, bucket: str) -> None:
    """Options and secrets hold from the next use on, also where the last one still has something to upload."""
    with relay(storage.ports["-s3.port"]) as network:
        start(ship, f"http://127.0.0.1:{network.port}", bucket)
        network.cut()
        write(ship, "precious")
        ship.docker("rm", "-f", "user")
        assert status(ship)["Pending"]["Files"] == 1
        ship.orlop("volume", "update", "--opt", f"endpoint={storage.endpoint}", "photos")
        assert ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "cat", "/p/a").stdout == "precious\n"
        wait_for_upload(ship, storage, bucket)
