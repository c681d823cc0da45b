"""Two daemons that share volumes by one etcd. Both are on this machine, so a JuiceFS with its names in SQLite and its
data in a directory is storage that both reach."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import LiveDaemon, Result, wait_for
from support.etcd import ROOT_PASSWORD, EtcdCluster, etcd
from support.seaweed import ACCESS_KEY, SECRET_KEY, seaweed


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture(scope="module")
def pair(store: EtcdCluster, docker_command: Path, busybox_tar: Path) -> Iterator[list[LiveDaemon]]:
    made = [LiveDaemon(docker_command, arguments=arguments(store, name)) for name in ("a", "b")]
    try:
        for daemon in made:
            daemon.start()
            daemon.docker("import", busybox_tar, "busybox")
        yield made
    finally:
        for daemon in made:
            daemon.close()


@pytest.fixture
def ships(pair: list[LiveDaemon], store: EtcdCluster) -> Iterator[tuple[LiveDaemon, LiveDaemon]]:
    yield pair[0], pair[1]
    store.wait_until_it_answers()
    for daemon in pair:
        if not daemon.is_running:
            daemon.start()
        if ids := daemon.docker("ps", "-aq").stdout.split():
            daemon.docker("rm", "-f", "-v", *ids)
    for daemon in pair:
        wait_for("etcd", lambda daemon=daemon: not warnings(daemon))  # type: ignore[misc]
        for name in names(daemon):
            daemon.docker("volume", "rm", "-f", name)
    for daemon in pair:
        wait_for("the removals", lambda daemon=daemon: not names(daemon))  # type: ignore[misc]


def arguments(store: EtcdCluster, name: str) -> list[str]:
    return ["--cluster", store.address, "--node", name]


def tree(place: Path, *more: str) -> list[str]:
    """Options of a volume whose storage is in that directory."""
    place.mkdir(exist_ok=True)
    options = [f"meta=sqlite3://{place}/meta.db", "name=tree", f"bucket={place}/data", *more]
    return ["-d", "juicefs", *(word for option in options for word in ("-o", option))]


def names(daemon: LiveDaemon) -> list[str]:
    return daemon.docker("volume", "ls", "-q").stdout.split()


def warnings(daemon: LiveDaemon) -> str:
    return daemon.orlop("volume", "ls").stderr


def sh(daemon: LiveDaemon, volume: str, script: str, code: int | None = 0) -> Result:
    return daemon.docker("run", "--rm", "-v", f"{volume}:/t", "busybox", "sh", "-c", script, code=code)


def where(daemon: LiveDaemon, volume: str) -> list[tuple[str, str, bool]]:
    found = listed(daemon.orlop("volume", "where", volume, "--format", "json"))
    return [(use["Node"], use["Container"], use["Running"]) for use in found]


def listed(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_volume_made_on_one_host_is_there_on_the_other(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "--label", "who=a", "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    assert b.docker("volume", "ls", "-q", "-f", "label=who=a").stdout.split() == ["data"]
    assert "data" in b.orlop("volume", "ls", "--size").stdout
    seen = b.inspect("volume", "data")
    assert (seen["Driver"], seen["Scope"], seen["Labels"]) == ("juicefs", "global", {"who": "a"})
    assert seen["Options"] == a.inspect("volume", "data")["Options"]
    sh(a, "data", "echo from a >>/t/log")
    sh(b, "data", "echo from b >>/t/log")
    assert sh(a, "data", "cat /t/log").stdout == "from a\nfrom b\n"


def test_two_containers_on_two_hosts_write_at_the_same_time(
    ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path
) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    for daemon in ships:
        daemon.docker("run", "-d", "--name", "worker", "-v", "data:/t", "busybox", "sleep", "1000")
    wait_for("both uses", lambda: where(a, "data") == [("a", "worker", True), ("b", "worker", True)])
    for number in range(3):
        for name, daemon in zip("ab", ships, strict=True):
            daemon.docker("exec", "worker", "sh", "-c", f"echo {name}{number} >>/t/log")
    assert b.docker("exec", "worker", "cat", "/t/log").stdout.split() == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_the_same_create_at_the_same_moment_makes_one_volume(
    ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path
) -> None:
    wish = tree(tmp_path / "fs")
    threads = [threading.Thread(target=daemon.docker, args=["volume", "create", *wish, "data"]) for daemon in ships]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    a, b = ships
    assert names(a) == names(b) == ["data"]
    sh(a, "data", "echo 1 >/t/f")
    assert sh(b, "data", "cat /t/f").stdout == "1\n"


def test_another_wish_for_a_name_is_told_whose_it_is(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    for wish in (tree(tmp_path / "other"), ["-d", "local"]):
        refused = b.docker("volume", "create", *wish, "data", code=1).stderr
        assert "made on node a" in refused
    assert names(b) == ["data"]


def test_what_is_used_on_another_host_is_not_removed(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    b.docker("create", "--name", "keeper", "-v", "data:/t", "busybox", "true")
    refused = a.docker("volume", "rm", "data", code=1).stderr
    assert "node b" in refused
    assert "keeper" in refused
    assert a.docker("volume", "prune", "-a", "-f").stdout.startswith("Total reclaimed space: 0")
    assert names(a) == ["data"]
    b.docker("rm", "keeper")
    wait_for("the end of the use", lambda: where(a, "data") == [])
    a.docker("volume", "rm", "data")
    wait_for("b to forget it", lambda: names(b) == [])


def test_what_is_removed_on_one_host_can_be_had_back_on_both(
    ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path
) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    sh(a, "data", "echo kept >/t/f")
    wait_for("b to list it", lambda: names(b) == ["data"])
    sh(b, "data", "cat /t/f")
    b.docker("volume", "rm", "data")
    wait_for("a to forget it", lambda: names(a) == [])
    a.orlop("volume", "restore", "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    assert sh(b, "data", "cat /t/f").stdout == "kept\n"
    assert a.inspect("volume", "data")["Status"]["Health"] == "ok"


def test_labels_follow_to_the_other_host(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    b.inspect("volume", "data")
    a.orlop("volume", "update", "data", "--label", "x=y")
    wait_for("the label", lambda: b.inspect("volume", "data")["Labels"] == {"x": "y"})
    assert "every host" in a.orlop("volume", "rename", "data", "other", code=1).stderr


def test_a_read_only_volume_is_read_only_for_all(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    sh(a, "data", "echo kept >/t/f")
    a.docker("volume", "create", *tree(tmp_path / "fs", "access=rox"), "reading")
    wait_for("b to list it", lambda: names(b) == ["data", "reading"])
    assert sh(b, "reading", "cat /t/f").stdout == "kept\n"
    for daemon in ships:
        assert "Read-only file system" in sh(daemon, "reading", "echo x >/t/f", code=1).stderr
    b.docker("create", "--name", "reader", "-v", "reading:/t", "busybox", "true")
    assert b.inspect("container", "reader")["Mounts"][0]["RW"] is False
    refused = a.docker("volume", "create", *tree(tmp_path / "fs", "access=all"), "wrong", code=1).stderr
    assert "rwx, rwo, rox" in refused


def test_secrets_are_named_in_the_cluster_and_held_on_each_host(
    ships: tuple[LiveDaemon, LiveDaemon], store: EtcdCluster, tmp_path: Path
) -> None:
    a, b = ships
    refused = a.docker("volume", "create", *tree(tmp_path / "fs", "meta-password=planted"), "data", code=1).stderr
    assert "meta-password" in refused
    assert "secret://" in refused
    a.orlop("secret", "create", "--force", "tree", stdin="planted-value")
    a.docker("volume", "create", *tree(tmp_path / "fs", "meta-password=secret://tree"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    missing = sh(b, "data", "true", code=125).stderr
    assert "secret tree" in missing
    assert "Unable to find image" not in missing
    b.orlop("secret", "create", "--force", "tree", stdin="planted-value")
    assert b.inspect("volume", "data")["Options"]["meta-password"] == "secret://tree"
    assert "planted" not in store.etcdctl("get", "--prefix", "/")


def test_without_etcd_what_runs_goes_on_and_listings_say_how_old_they_are(
    ships: tuple[LiveDaemon, LiveDaemon], store: EtcdCluster, tmp_path: Path
) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    b.docker("run", "-d", "--name", "worker", "-v", "data:/t", "busybox", "sleep", "1000")
    store.members[0].kill()
    wait_for("a warning", lambda: "etcd is away" in warnings(a) and "etcd is away" in warnings(b))
    assert names(a) == names(b) == ["data"]
    b.docker("exec", "worker", "sh", "-c", "echo on >/t/f")
    refused = a.docker("volume", "create", *tree(tmp_path / "more"), "more", code=1).stderr
    assert "etcd is away" in refused
    refused = a.docker("create", "-v", "data:/t", "busybox", "true", code=1).stderr
    assert "etcd is away" in refused
    a.docker("volume", "create", "own")  # local ones are made as ever
    a.docker("volume", "rm", "own")
    b.docker("restart", "-t", "0", "worker")
    a.restart()
    assert names(a) == ["data"]
    b.docker("rm", "-f", "worker")
    store.members[0].start()
    wait_for("etcd to be back", lambda: not warnings(a) and not warnings(b))
    wait_for("the end of the use", lambda: where(a, "data") == [])
    assert sh(a, "data", "cat /t/f").stdout == "on\n"


def test_other_storage_under_the_same_options_is_refused(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    sh(a, "data", "echo kept >/t/f")
    wait_for("b to list it", lambda: names(b) == ["data"])
    (tmp_path / "fs").rename(tmp_path / "away")
    (tmp_path / "fs").mkdir()
    refused = sh(b, "data", "true", code=125).stderr
    assert "is not formatted anew" in refused
    assert not (tmp_path / "fs/data").exists()
    (tmp_path / "fs/meta.db").unlink(missing_ok=True)
    (tmp_path / "fs").rmdir()
    (tmp_path / "away").rename(tmp_path / "fs")
    assert sh(b, "data", "cat /t/f").stdout == "kept\n"


def test_what_a_killed_daemon_had_begun_is_put_right(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("b to list it", lambda: names(b) == ["data"])
    b.inspect("volume", "data")
    b.kill()
    a.docker("volume", "rm", "data")
    b.start()
    wait_for("b to forget it", lambda: names(b) == [])
    assert "data" in b.orlop("volume", "ls", "--retired").stdout


def test_a_volume_of_a_host_alone_keeps_its_name_there(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    b.docker("volume", "create", "data")
    sh(b, "data", "echo mine >/t/f")
    a.docker("volume", "create", *tree(tmp_path / "fs"), "data")
    wait_for("a warning", lambda: "on this host the name means its own volume" in warnings(b))
    assert sh(b, "data", "cat /t/f").stdout == "mine\n"
    b.orlop("volume", "rename", "data", "mine", "--no-alias")
    assert b.inspect("volume", "data")["Driver"] == "juicefs"
    assert not warnings(b)


def test_what_a_host_had_before_it_joined_is_published(
    ships: tuple[LiveDaemon, LiveDaemon],
    store: EtcdCluster,
    docker_command: Path,
    busybox_tar: Path,
    tmp_path: Path,
) -> None:
    a, b = ships
    a.docker("volume", "create", *tree(tmp_path / "same"), "same")
    late = LiveDaemon(docker_command)
    try:
        late.start()
        late.docker("import", busybox_tar, "busybox")
        late.docker("volume", "create", *tree(tmp_path / "fs"), "old")
        late.docker("volume", "create", *tree(tmp_path / "fs", "meta-password=planted"), "secretive")
        late.docker("create", "--name", "keeper", "-v", "old:/t", "busybox", "true")
        sh(late, "old", "echo kept >/t/f")
        late.docker("volume", "create", *tree(tmp_path / "same"), "same")  # as a did: it is meant to be one
        late.stop()
        late.arguments = arguments(store, "late")
        late.start()
        wait_for("b to know them", lambda: names(b) == ["old", "same"])
        wait_for("the use", lambda: where(b, "old") == [("late", "keeper", False)])
        assert sh(b, "old", "cat /t/f").stdout == "kept\n"
        assert "meta-password" in late.whole_log()
        late.docker("rm", "keeper")
        late.docker("volume", "rm", "same")
        wait_for("a to forget it", lambda: names(a) == ["old"])
        late.docker("volume", "rm", "old")
    finally:
        late.close()
        a.orlop("node", "rm", "late", code=None)


def test_a_volume_that_moves_to_storage_of_all_hosts_is_known_to_all(
    ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path
) -> None:
    a, b = ships
    a.docker("volume", "create", "--label", "who=a", "data")
    a.docker("run", "-d", "--name", "idle", "-v", "data:/t", "busybox", "sleep", "600")
    sh(a, "data", "echo begun > /t/file")
    a.orlop("volume", "move", "data", *tree(tmp_path / "tree", "access=rwx"))
    wait_for("the volume", lambda: "data" in names(b))
    assert b.inspect("volume", "data")["Labels"] == {"who": "a"}
    sh(b, "data", "echo there >> /t/file")
    assert a.docker("exec", "idle", "cat", "/t/file").stdout == "begun\nthere\n"
    wait_for("the use", lambda: where(b, "data") == [("a", "idle", True)])
    b.docker("volume", "rm", "data", code=1)


def test_what_the_cluster_would_refuse_is_refused_before_a_move(
    ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path
) -> None:
    a, _ = ships
    sh(a, "data", "echo kept > /t/file")
    unwritten = a.orlop("volume", "move", "data", *tree(tmp_path / "tree", "access=rox"), code=1)
    assert "with access=rox nobody could copy anything to it" in unwritten.stderr
    words = ["-d", "cloud", "-o", "type=s3", "-o", "bucket=b", "-o", "access-key=k", "-o", "secret-key=plainly"]
    told = a.orlop("volume", "move", "data", *words, code=1)
    assert "holds a secret, which every host" in told.stderr and "plainly" not in told.stderr
    assert a.inspect("volume", "data")["Driver"] == "local" and sh(a, "data", "cat /t/file").stdout == "kept\n"


def test_nodes_are_listed_and_a_name_is_one_daemons(
    ships: tuple[LiveDaemon, LiveDaemon], store: EtcdCluster, docker_command: Path
) -> None:
    a, _ = ships
    nodes = listed(a.orlop("node", "ls", "--format", "json"))
    assert [(node["Name"], node["Alive"], node["Self"]) for node in nodes] == [("a", True, True), ("b", True, False)]
    assert "alive" in a.orlop("node", "rm", "b", code=1).stderr
    third = LiveDaemon(docker_command, arguments=arguments(store, "a"))
    try:
        third.start(wait=False)
        assert third.wait_for_exit() == 1
        assert "another daemon is the node a" in third.logs()
        third.arguments = arguments(store, "c")
        third.start()
        assert third.orlop("node", "ls", "-q").stdout.split() == ["a", "b", "c"]
        third.stop()
        wait_for("c to be gone", lambda: "not heard of" in a.orlop("node", "ls").stdout)
        a.orlop("node", "rm", "c")
        assert "c" not in a.orlop("node", "ls", "-q").stdout.split()
        third.arguments = []
    finally:
        third.close()


def test_etcd_with_tls_and_a_password_by_the_configuration_file(
    docker_command: Path, tmp_path: Path, needs_root: None
) -> None:
    with etcd(tmp_path / "etcd", is_tls=True, more=["--auth-token", "simple"]) as store:
        store.ask_for_passwords()
        word, config = tmp_path / "word", tmp_path / "daemon.json"
        word.write_text(ROOT_PASSWORD + "\n")
        settings = {
            "cluster": store.address,
            "node": "a",
            "cluster-ca": str(store.credentials.ca),
            "cluster-cert": str(store.credentials.certificate),
            "cluster-key": str(store.credentials.key),
            "cluster-user": "root",
            "cluster-password-file": str(word),
            "cluster-prefix": "/ships/",
        }
        config.write_text(json.dumps(settings))
        ship = LiveDaemon(docker_command, arguments=["--config", str(config)])
        try:
            ship.start()
            ship.docker("volume", "create", *tree(tmp_path / "fs"), "data")
            assert where(ship, "data") == []
            word.write_text("another")
            ship.stop()
            ship.start(wait=False)
            assert ship.wait_for_exit() == 1
            assert "user root" in ship.logs()
            assert ROOT_PASSWORD not in ship.whole_log()
            word.write_text(ROOT_PASSWORD)
        finally:
            ship.close()


def test_a_bucket_is_one_volume_for_both(ships: tuple[LiveDaemon, LiveDaemon], tmp_path: Path) -> None:
    a, b = ships
    with seaweed(tmp_path / "weed") as storage:
        storage.make_bucket("photos")
        for daemon in ships:
            for name, value in (("s3id", ACCESS_KEY), ("s3key", SECRET_KEY)):
                daemon.orlop("secret", "create", "--force", name, stdin=value)
        options = {
            "type": "s3",
            "endpoint": storage.endpoint,
            "bucket": "photos",
            "access-key": "secret://s3id",
            "secret-key": "secret://s3key",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        a.docker("volume", "create", "-d", "cloud", *words, "photos")
        wait_for("b to list it", lambda: names(b) == ["photos"])
        sh(a, "photos", "echo one >/t/one")
        assert sh(b, "photos", "cat /t/one; echo two >/t/two").stdout == "one\n"
        assert sh(a, "photos", "ls /t").stdout.split() == ["one", "two"]
        assert len(storage.marks("photos")) == 1
        a.docker("volume", "rm", "photos")
        wait_for("b to forget it", lambda: names(b) == [])
        assert "one" in storage.names("photos")
