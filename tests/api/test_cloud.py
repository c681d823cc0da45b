"""Object storage as a volume: what is written gets there, is counted until it is there, and is never lost."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from support.daemon import LiveDaemon, wait_for
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, seaweed


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("cloud") / "weed") as found:
        yield found


@pytest.fixture
def bucket(storage: Seaweed, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.name)) % 10**8}"
    storage.make_bucket(name)
    return name


@pytest.fixture
def ship(daemon: LiveDaemon) -> LiveDaemon:
    daemon.orlop("secret", "create", "--force", "s3id", stdin=ACCESS_KEY)
    daemon.orlop("secret", "create", "--force", "s3key", stdin=SECRET_KEY)
    return daemon


def create(ship: LiveDaemon, storage: Seaweed, bucket: str, *more: str, name: str = "photos", code: int = 0) -> str:
    options = {
        "type": "s3",
        "endpoint": storage.endpoint,
        "bucket": bucket,
        "access-key": "secret://s3id",
        "secret-key": "secret://s3key",
    } | dict(one.split("=", 1) for one in more)
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ship.docker("volume", "create", "-d", "cloud", *words, name, code=code).stderr


def program_of(ship: LiveDaemon) -> int:
    (record,) = ship.exec_root.glob("programs/cloud/*/program.json")
    return int(json.loads(record.read_text())["pid"])


def test_a_run_returns_when_what_it_wrote_is_in_the_bucket(ship: LiveDaemon, storage: Seaweed, bucket: str) -> None:
    create(ship, storage, bucket)
    ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "sh", "-c", "echo hi > /p/a; mkdir /p/d; echo ho > /p/d/b")
    assert storage.names(bucket) == ["a", "d/b"]
    assert storage.read(f"{bucket}/a") == "hi\n"
    assert ship.docker("run", "--rm", "-v", "photos:/p:ro", "busybox", "cat", "/p/d/b").stdout == "ho\n"
    assert not list(ship.exec_root.glob("programs/cloud/*")), "nobody uses it, so nothing runs"


def test_two_containers_share_it_and_a_daemon_may_die_meanwhile(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    create(ship, storage, bucket)
    for name in ("one", "two"):
        ship.docker("run", "-d", "--name", name, "-v", "photos:/p", "busybox", "sleep", "1000")
    ship.docker("exec", "one", "sh", "-c", "echo shared > /p/a")
    assert ship.docker("exec", "two", "cat", "/p/a").stdout == "shared\n"
    before = program_of(ship)
    ship.restart()
    assert program_of(ship) == before
    ship.docker("exec", "two", "sh", "-c", "echo more >> /p/a")
    ship.docker("rm", "-f", "one", "two")
    assert storage.read(f"{bucket}/a") == "shared\nmore\n"


def test_a_removed_volume_leaves_the_bucket_alone_and_comes_back(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    create(ship, storage, bucket)
    ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "sh", "-c", "echo hi > /p/a")
    ship.docker("volume", "rm", "photos")
    assert storage.names(bucket) == ["a"]
    ship.orlop("volume", "restore", "photos", "--as", "again")
    assert ship.docker("run", "--rm", "-v", "again:/p", "busybox", "cat", "/p/a").stdout == "hi\n"


def test_another_bucket_under_the_same_name_is_refused(ship: LiveDaemon, storage: Seaweed, bucket: str) -> None:
    create(ship, storage, bucket)
    ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "sh", "-c", "ls -A /p; echo hi > /p/a")
    (mark,) = storage.marks(bucket)
    storage.rclone("purge", f"sea:{bucket}")
    storage.make_bucket(bucket)
    refused = ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "touch", "/p/b", code=125).stderr
    where = f"s3 {bucket} at {storage.endpoint} has no mark"
    assert where in refused and mark.removeprefix(".orlop-mark-")[:12] in refused
    assert storage.names(bucket) == [] == storage.marks(bucket)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("secret-key=wrong", "does not let us in"),
        ("bucket=no-such-bucket", "is not there"),
        ("endpoint=http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_what_is_wrong_with_the_storage_is_said_and_nothing_starts(
    ship: LiveDaemon, storage: Seaweed, bucket: str, option: str, said: str
) -> None:
    create(ship, storage, bucket, option)
    refused = ship.docker("run", "--rm", "-v", "photos:/p", "busybox", "true", code=125)
    assert said in refused.stderr and "attaching volume photos" in refused.stderr
    assert SECRET_KEY not in refused.stderr
    assert not list(ship.exec_root.glob("programs/cloud/*"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("type=",), 'missing required option: "type"'),
        (("bucket=",), 'missing required option: "bucket"'),
        (("colour=red",), 'invalid option: "colour"'),
        (("cache-mode=always",), "cache-mode is 'always'"),
        (("cache-size=much",), "invalid size"),
        (("path=../up",), "path leads upwards"),
        (("type=swift",), "belongs to type=s3"),
        (("secret-key=secret://nowhere",), "secret nowhere: there is none of that name"),
    ],
)
def test_a_wrong_option_is_refused_at_create(
    ship: LiveDaemon, storage: Seaweed, bucket: str, more: tuple[str, ...], said: str
) -> None:
    assert said in create(ship, storage, bucket, *more, code=1)
    assert ship.docker("volume", "ls", "-q").stdout == ""


def test_what_is_not_uploaded_yet_is_kept_counted_and_goes_on_after_any_end(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    """The network is cut while something is written; the daemon and the program that uploads are killed as well."""
    create(ship, storage, bucket, "upload-wait=1")
    ship.docker("run", "-d", "--name", "writer", "-v", "photos:/p", "busybox", "sleep", "1000")
    ship.docker("exec", "writer", "ls", "/p")
    storage.pause()
    try:
        ship.docker("exec", "writer", "sh", "-c", "echo precious > /p/a")
        ship.docker("rm", "-f", "writer")
        status = ship.inspect("volume", "photos")["Status"]
        assert status["Pending"] == {"Files": 1, "SizeBytes": 9}
        ship.kill()
        os.kill(program_of(ship), signal.SIGKILL)
    finally:
        storage.go_on()
    ship.start()
    wait_for("the upload", lambda: storage.names(bucket) == ["a"], 60)
    assert storage.read(f"{bucket}/a") == "precious\n"
    wait_for("the program to end", lambda: not list(ship.exec_root.glob("programs/cloud/*")), 30)


def test_what_is_not_uploaded_yet_is_not_lost_when_the_volume_is_renamed(
    ship: LiveDaemon, storage: Seaweed, bucket: str
) -> None:
    """The cache moves with the volume, below the program that uploads from it."""
    create(ship, storage, bucket)
    ship.docker("run", "-d", "--name", "writer", "-v", "photos:/p", "busybox", "sleep", "1000")
    ship.docker("exec", "writer", "ls", "/p")
    storage.pause()
    try:
        ship.docker("exec", "writer", "sh", "-c", "echo precious > /p/a")
        ship.orlop("volume", "rename", "photos", "pictures")
    finally:
        storage.go_on()
    ship.docker("exec", "writer", "sh", "-c", "cat /p/a; echo more > /p/b")
    ship.docker("rm", "-f", "writer")
    assert storage.read(f"{bucket}/a") == "precious\n" and storage.read(f"{bucket}/b") == "more\n"
    assert not (ship.data_root / "drivers/cloud/photos").exists()
