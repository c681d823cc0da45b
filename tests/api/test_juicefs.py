"""One file system for many: metadata in Redis, data in S3, mounted by volumes of the driver juicefs."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from support.daemon import LiveDaemon, wait_for
from support.postgres import PASSWORD as POSTGRES_PASSWORD
from support.postgres import postgres
from support.redis import PASSWORD, Redis, redis
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, seaweed


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("juicefs") / "weed") as found:
        found.make_bucket("trees")
        yield found


@pytest.fixture(scope="module")
def meta(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis(tmp_path_factory.mktemp("juicefs") / "redis") as found:
        yield found


@pytest.fixture
def ship(daemon: LiveDaemon) -> LiveDaemon:
    for name, value in (("redis", PASSWORD), ("s3id", ACCESS_KEY), ("s3key", SECRET_KEY)):
        daemon.orlop("secret", "create", "--force", name, stdin=value)
    return daemon


class Tree:
    """A file system of a test's own."""

    def __init__(self, ship: LiveDaemon, meta: Redis, storage: Seaweed, number: int) -> None:
        self.ship, self.meta, self.storage, self.number = ship, meta, storage, number

    def create(self, *more: str, name: str = "tree") -> None:
        options = {
            "meta": self.meta.url(self.number),
            "meta-password": "secret://redis",
            "name": f"fs-{self.number}",
            "bucket": f"{self.storage.endpoint}/trees",
            "access-key": "secret://s3id",
            "secret-key": "secret://s3key",
        } | dict(one.split("=", 1) for one in more)
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        self.ship.docker("volume", "create", "-d", "juicefs", *words, name)

    def run(self, script: str, volume: str = "tree", code: int = 0) -> str:
        done = self.ship.docker("run", "--rm", "-v", f"{volume}:/t", "busybox", "sh", "-c", script, code=code)
        return done.stdout + done.stderr

    def programs(self) -> list[int]:
        records = self.ship.exec_root.glob("programs/juicefs/*/program.json")
        return [int(json.loads(record.read_text())["pid"]) for record in records]


@pytest.fixture
def tree(ship: LiveDaemon, meta: Redis, storage: Seaweed, request: pytest.FixtureRequest) -> Tree:
    names = [item.name for item in request.session.items if item.fspath == request.node.fspath]
    return Tree(ship, meta, storage, names.index(request.node.name))


def test_what_one_run_wrote_the_next_one_reads_and_nothing_runs_in_between(tree: Tree) -> None:
    tree.create()
    tree.run("mkdir /t/d && echo hi > /t/d/a && ln /t/d/a /t/hard && ln -s d/a /t/soft && chown 7:8 /t/d/a")
    assert tree.run("cat /t/hard /t/soft; stat -c '%u:%g %h' /t/d/a") == "hi\nhi\n7:8 2\n"
    assert tree.programs() == [] and not list(tree.ship.exec_root.glob("programs/juicefs/*"))
    assert any(name.startswith("fs-0/chunks/") for name in tree.storage.names("trees"))


def test_two_volumes_with_containers_share_one_tree_while_the_daemon_dies(tree: Tree) -> None:
    ship = tree.ship
    for name in ("one", "two"):
        tree.create(name=name)
        ship.docker("run", "-d", "--name", name, "-v", f"{name}:/t", "busybox", "sleep", "1000")
    ship.docker("exec", "one", "sh", "-c", "echo from one > /t/a")
    assert ship.docker("exec", "two", "cat", "/t/a").stdout == "from one\n"
    before = sorted(tree.programs())
    ship.restart()
    assert sorted(tree.programs()) == before and len(before) == 2
    ship.docker("exec", "two", "sh", "-c", "echo from two >> /t/a")
    assert ship.docker("exec", "one", "cat", "/t/a").stdout == "from one\nfrom two\n"
    ship.docker("rm", "-f", "one", "two")
    assert tree.programs() == []


def test_a_running_container_gets_the_tree_back_when_juicefs_is_killed(tree: Tree) -> None:
    tree.create()
    ship = tree.ship
    ship.docker("run", "-d", "--name", "user", "-v", "tree:/t", "busybox", "sleep", "1000")
    ship.docker("exec", "user", "sh", "-c", "echo kept > /t/a")
    (program,) = tree.programs()
    os.kill(program, signal.SIGKILL)
    wait_for("it", lambda: ship.docker("exec", "user", "cat", "/t/a", code=None).stdout == "kept\n", 30)
    ship.docker("rm", "-f", "user")
    assert tree.programs() == []


def test_a_killed_juicefs_loses_nothing_that_was_closed(tree: Tree) -> None:
    tree.create()
    ship = tree.ship
    ship.docker("run", "-d", "--name", "user", "-v", "tree:/t", "busybox", "sleep", "1000")
    ship.docker("exec", "user", "sh", "-c", "echo kept > /t/a")
    (program,) = tree.programs()
    ship.kill()
    os.kill(program, signal.SIGKILL)
    ship.start()
    ship.docker("rm", "-f", "user")
    assert tree.run("cat /t/a") == "kept\n"


def test_a_removed_volume_leaves_the_file_system_alone_and_comes_back(tree: Tree) -> None:
    tree.create()
    tree.run("echo hi > /t/a")
    tree.ship.docker("volume", "rm", "tree")
    tree.ship.orlop("volume", "restore", "tree", "--as", "again")
    assert tree.run("cat /t/a", volume="again") == "hi\n"


def test_metadata_that_are_away_or_closed_keep_a_container_from_starting(tree: Tree) -> None:
    tree.create("meta=redis://127.0.0.1:9/1", name="away")
    tree.create(f"meta={tree.meta.url(tree.number)}", "meta-password=wrong", name="closed")
    said = tree.run("true", volume="closed", code=125)
    assert "does not let us in" in said and "Check meta-password" in said and PASSWORD not in said
    said = tree.run("true", volume="away", code=125)
    assert "attaching volume away: the metadata engine redis://127.0.0.1:9/1 gave no answer" in said
    assert not list(tree.ship.exec_root.glob("programs/juicefs/*"))


def test_what_is_on_its_way_when_the_storage_stops_answering_gets_there(tree: Tree) -> None:
    tree.create()
    ship = tree.ship
    ship.docker("run", "-d", "--name", "user", "-v", "tree:/t", "busybox", "sleep", "1000")
    ship.docker("exec", "user", "sh", "-c", "echo kept > /t/a")
    tree.storage.pause()
    try:
        writer = ship.spawn("exec", "user", "sh", "-c", "exec 3> /t/b; echo late >&3; sleep 1000")
        wait_for("the file", lambda: ship.docker("exec", "user", "ls", "/t").stdout == "a\nb\n", 20)
    finally:
        tree.storage.go_on()
    ship.docker("rm", "-f", "user")
    writer.kill()
    writer.wait()
    assert tree.run("cat /t/a /t/b") == "kept\nlate\n"


def test_two_mounts_see_each_others_writes_with_their_names_in_postgresql(ship: LiveDaemon, storage: Seaweed) -> None:
    with postgres() as rows:
        rows.make_database("trees")
        ship.orlop("secret", "create", "--force", "postgres", stdin=POSTGRES_PASSWORD)
        meta = {"meta": rows.url("trees"), "meta-password": "secret://postgres", "name": "in-rows"}
        bucket = {"bucket": f"{storage.endpoint}/trees", "access-key": "secret://s3id", "secret-key": "secret://s3key"}
        for name, options in (("one", {**meta, **bucket}), ("two", meta)):  # the second finds what the first made
            words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
            ship.docker("volume", "create", "-d", "juicefs", *words, name)
            ship.docker("run", "-d", "--name", name, "-v", f"{name}:/t", "busybox", "sleep", "1000")
        assert len(list(ship.exec_root.glob("programs/juicefs/*"))) == 2
        ship.docker("exec", "one", "sh", "-c", "mkdir /t/d; echo first > /t/d/a")
        assert ship.docker("exec", "two", "cat", "/t/d/a").stdout == "first\n"
        ship.docker("exec", "two", "sh", "-c", "echo second > /t/d/b; mv /t/d/b /t/d/a")
        assert ship.docker("exec", "one", "cat", "/t/d/a").stdout == "second\n"
        ship.restart()
        ship.docker("exec", "one", "sh", "-c", "echo third > /t/d/c")
        assert ship.docker("exec", "two", "sh", "-c", "cat /t/d/*").stdout == "second\nthird\n"
        ship.docker("rm", "-f", "one", "two")
        ship.docker("volume", "rm", "one", "two")
