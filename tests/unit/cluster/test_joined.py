"""Nodes that joined one etcd, as the engine sees them."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.cluster.address import Endpoint
from orlop.cluster.copy import Copy
from orlop.cluster.joined import JoinedCluster, spread
from orlop.cluster.keys import Keys
from orlop.cluster.membership import NameTaken
from orlop.errors import Conflict, NotFound, Unavailable
from orlop.model.cluster import Access, GlobalUse, GlobalVolume
from support.daemon import wait_for
from support.etcd import EtcdCluster, etcd

Join = Callable[..., JoinedCluster]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture
def join(store: EtcdCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Join]:
    made: list[JoinedCluster] = []

    def join(name: str, daemon: str = "", is_started: bool = True) -> JoinedCluster:
        keys = Keys(f"/{request.node.name}/")
        path = tmp_path / f"copy-{name}"
        node = JoinedCluster(store.endpoints, store.credentials, keys, name, daemon or f"d-{name}", "1", path, tmp_path)
        made.append(node)
        if is_started:
            node.start()
        return node

    yield join
    store.wait_until_it_answers()
    for node in made:
        node.close()


def volume(name: str, node: JoinedCluster, **more: object) -> GlobalVolume:
    made = GlobalVolume(name, f"{name}-{node.node}", "juicefs", Access.RWX, 1, node.node, options={"meta": "x"})
    return replace(made, **more)  # type: ignore[arg-type]


def use(of: GlobalVolume, node: JoinedCluster, container: str = "c") -> GlobalUse:
    return GlobalUse(of.id, node.node, f"id-{container}", container)


def test_what_one_node_publishes_all_know(join: Join) -> None:
    a, b = join("a"), join("b")
    told: list[str] = []
    b.on_change(told.append)
    made = a.publish(volume("data", a))
    assert a.find("data") == made
    wait_for("b to know it", lambda: b.find("data") == made)
    changed = replace(made, labels={"x": "y"})
    b.change(changed)
    wait_for("a to know it", lambda: a.find("data") == changed)
    b.withdraw(changed)
    b.withdraw(changed)
    wait_for("a to know it", lambda: a.find("data") is None)
    assert set(told) <= {"", "data"}
    assert "data" in told
    with pytest.raises(NotFound):
        a.change(made)


def test_the_same_wish_makes_one_volume_and_another_one_is_told_whose_it_is(join: Join) -> None:
    a, b = join("a"), join("b")
    first = a.publish(volume("data", a))
    assert b.publish(volume("data", b)) == first
    assert b.publish(volume("data", b, options=None)) == first
    with pytest.raises(Conflict, match="node a"):
        b.publish(volume("data", b, options={"meta": "y"}))
    with pytest.raises(Conflict, match="node a"):
        b.publish(volume("data", b, driver="nas"))


def test_of_many_at_the_same_moment_one_makes_it(join: Join) -> None:
    nodes = [join(f"n{number}") for number in range(3)]
    found: list[GlobalVolume] = []
    ready = threading.Barrier(len(nodes))

    def publish(node: JoinedCluster) -> None:
        ready.wait(10)
        found.append(node.publish(volume("data", node)))

    threads = [threading.Thread(target=publish, args=[node]) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 3
    assert len(set(map(repr, found))) == 1


def test_what_is_used_elsewhere_is_not_withdrawn(join: Join) -> None:
    a, b = join("a"), join("b")
    data = a.publish(volume("data", a))
    wait_for("b to know it", lambda: b.find("data"))
    b.begin_use(use(data, b, "db"))
    b.begin_use(use(data, b, "db"))
    with pytest.raises(Conflict, match=r"node b .*container db"):
        a.withdraw(data)
    assert wait_for("a to know it", lambda: a.uses(data.id)) == (use(data, b, "db"),)
    b.end_use(data.id, "id-db")
    wait_for("the end of the use", lambda: not a.uses(data.id))
    a.withdraw(data)
    with pytest.raises(NotFound):
        b.begin_use(use(data, b, "late"))


def test_after_a_start_the_uses_are_what_the_node_says(join: Join) -> None:
    a, b = join("a"), join("b")
    data = a.publish(volume("data", a))
    wait_for("b to know it", lambda: b.find("data"))
    b.begin_use(use(data, b, "old"))
    b.begin_use(use(data, b, "kept"))
    kept = replace(use(data, b, "kept"), is_running=True)
    b.match_uses(lambda: [kept, use(data, b, "new")])
    wait_for("the uses", lambda: set(a.uses(data.id)) == {kept, use(data, b, "new")})


def test_a_name_is_one_daemons(join: Join) -> None:
    a = join("a")
    with pytest.raises(NameTaken, match="another daemon is the node a"):
        join("a", daemon="another", is_started=False).start()
    join("a", daemon="d-a")  # the same one, started again after a crash
    with pytest.raises(Conflict, match="alive"):
        join("b").remove_node("a")
    wait_for("b to be seen", lambda: [(node.name, node.is_alive) for node in a.nodes()] == [("a", True), ("b", True)])


def test_a_node_that_is_gone_for_good_is_taken_out_with_its_uses(join: Join) -> None:
    a, b = join("a"), join("b")
    data = a.publish(volume("data", a))
    wait_for("b to know it", lambda: b.find("data"))
    b.begin_use(use(data, b))
    b.close()
    wait_for("b to be gone", lambda: [node.is_alive for node in a.nodes()] == [True, False])
    a.remove_node("b")
    assert [node.name for node in a.nodes()] == ["a"]
    a.withdraw(data)
    with pytest.raises(NotFound):
        a.remove_node("b")


def test_without_etcd_all_is_as_last_known_and_it_heals(join: Join, store: EtcdCluster) -> None:
    a, b = join("a"), join("b")
    data = a.publish(volume("data", a))
    wait_for("b to know it", lambda: b.find("data"))
    b.begin_use(use(data, b))
    wait_for("a to know it", lambda: a.uses(data.id))
    store.members[0].kill()
    wait_for("a warning", b.warnings)
    assert b.find("data") == data
    with pytest.raises(Unavailable, match="etcd is away"):
        b.publish(volume("more", b))
    b.end_use(data.id, "id-c")
    late = join("late")
    assert late.warnings()
    assert not late.is_current
    store.members[0].start()
    for node in (a, b, late):
        wait_for("etcd to be back", lambda node=node: not node.warnings())  # type: ignore[misc]
    wait_for("the end of the use", lambda: not a.uses(data.id))
    assert late.find("data") == data
    b.publish(volume("more", b))


def test_the_version_changes_with_what_is_told_of_volumes_and_only_then(join: Join, store: EtcdCluster) -> None:
    a, b = join("a"), join("b")
    versions = [b.version]

    def is_new() -> bool:
        versions.append(b.version)
        return versions[-1] not in versions[:-1]

    data = a.publish(volume("data", a))
    wait_for("b to know it", lambda: b.find("data"))
    assert is_new()
    a.begin_use(use(data, a))
    wait_for("b to know the use", lambda: b.uses(data.id))
    assert b.version == versions[-1], "which no listing tells"
    a.change(replace(data, labels={"a": "b"}))
    wait_for("b to know the label", lambda: [each.labels for each in b.volumes()] == [{"a": "b"}])
    assert is_new()
    store.members[0].kill()
    wait_for("a warning", b.warnings)
    assert is_new()
    store.members[0].start()
    wait_for("no warning", lambda: not b.warnings())
    wait_for("a to be back", lambda: a.is_current)
    a.end_use(data.id, "id-c")
    wait_for("the end of the use", lambda: not b.uses(data.id))
    versions.append(b.version)
    b.withdraw(replace(data, labels={"a": "b"}))
    assert is_new()


def test_a_node_that_starts_without_etcd_knows_what_there_was(join: Join, store: EtcdCluster) -> None:
    a = join("a")
    data = a.publish(volume("data", a))
    a.close()
    store.members[0].kill()
    again = join("a")
    assert again.find("data") == data
    assert not again.is_current


def test_a_slow_disk_does_not_make_the_copy_on_it_an_old_one(
    join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Copy.save

    def save_slowly(copy: Copy) -> None:
        time.sleep(0.3)
        save(copy)

    monkeypatch.setattr(Copy, "save", save_slowly)
    a, on_disk = join("a"), tmp_path / "copy-a"
    data = a.publish(volume("data", a))
    wait_for("it on the disk", lambda: on_disk.exists() and b"volumes/data" in on_disk.read_bytes())
    a.withdraw(data)
    wait_for("it to go from there", lambda: b"volumes/data" not in on_disk.read_bytes(), 10)


def test_what_etcd_has_forgotten_is_loaded_anew(join: Join, store: EtcdCluster) -> None:
    a, b = join("a"), join("b", is_started=False)
    for number in range(3):
        last = a.publish(volume(f"data{number}", a))
    b.start()
    b.follower.failed(Unavailable("test", "cut off"))
    a.withdraw(last)
    store.etcdctl("compaction", str(a.copy.revision))
    wait_for("b to know", lambda: b.find("data2") is None and b.find("data1") and not b.warnings())


def test_another_cluster_is_not_taken_for_an_empty_one(join: Join, store: EtcdCluster) -> None:
    a = join("a")
    a.publish(volume("data", a))
    a.close()
    store.etcdctl("del", "--prefix", a.keys.prefix)
    with pytest.raises(Conflict, match="holds no cluster"):
        join("a", is_started=False).start()


def test_an_etcd_that_hangs_is_waited_for_once(join: Join, store: EtcdCluster) -> None:
    a = join("a")
    store.members[0].pause()
    with pytest.raises(Unavailable, match="no answer in time"):
        a.publish(volume("first", a))
    with pytest.raises(Unavailable, match="etcd is away"):
        a.publish(volume("second", a))
    with pytest.raises(Unavailable, match="etcd is away"):
        a.acquire(volume("third", a), [])
    store.members[0].go_on()
    wait_for("etcd", lambda: a.is_current)
    a.publish(volume("second", a))


def test_hosts_spread_over_the_members_and_each_knows_all() -> None:
    members = [Endpoint("etcd", port) for port in range(3)]
    orders = [spread(members, f"ship-{number}") for number in range(60)]
    assert all(sorted(order, key=str) == sorted(members, key=str) for order in orders)
    firsts = [order[0] for order in orders]
    assert all(firsts.count(member) > 10 for member in members)
