"""The client against a real etcd."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.cluster.etcd import Absent, Change, Compacted, Delete, Etcd, LeasedBy, Present, Put, Read, Unchanged, after
from orlop.cluster.etcd_link import Uncertain
from orlop.cluster.etcd_wire import parse_fault
from orlop.errors import Forbidden, Unavailable
from support.daemon import wait_for
from support.etcd import ROOT_PASSWORD, EtcdCluster, etcd


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture
def client(cluster: EtcdCluster, request: pytest.FixtureRequest) -> Iterator[Etcd]:
    client = cluster.client()
    yield client
    client.close()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"/{request.node.name}/"


def test_what_is_put_is_found(client: Etcd, prefix: str) -> None:
    key, value = f"{prefix}größe", bytes(range(256))
    assert client.get(key) is None
    done = client.transact([], [Put(key, value)])
    found = client.get(key)
    assert done.is_done
    assert found is not None
    assert (found.key, found.value, found.changed) == (key, value, done.revision)


def test_one_of_two_that_want_a_key_gets_it(client: Etcd, prefix: str) -> None:
    key = f"{prefix}a"
    first = client.transact([Absent(key)], [Put(key, b"1")], [Read(key)])
    second = client.transact([Absent(key)], [Put(key, b"2")], [Read(key)])
    assert (first.is_done, second.is_done) == (True, False)
    assert [entry.value for entry in second.found[0]] == [b"1"]


def test_a_change_compares_what_it_was_made_from(client: Etcd, prefix: str) -> None:
    key = f"{prefix}a"
    made = client.transact([], [Put(key, b"1")])
    assert client.transact([Present(key), Unchanged(key, made.revision)], [Put(key, b"2")]).is_done
    assert not client.transact([Unchanged(key, made.revision)], [Put(key, b"3")]).is_done


def test_a_whole_range_can_be_compared_read_and_deleted(client: Etcd, prefix: str) -> None:
    assert client.transact([Absent(prefix, after(prefix))], [Put(f"{prefix}a", b""), Put(f"{prefix}b", b"")]).is_done
    seen = client.transact([Absent(prefix, after(prefix))], [], [Read(prefix, after(prefix))])
    assert [entry.key for entry in seen.found[0]] == [f"{prefix}a", f"{prefix}b"]
    client.transact([], [Delete(prefix, after(prefix))])
    assert client.list(prefix).entries == []


def test_a_long_list_is_of_one_revision(client: Etcd, prefix: str) -> None:
    keys = [f"{prefix}{number:05}" for number in range(2500)]
    for start in range(0, len(keys), 100):
        client.transact([], [Put(key, b"x") for key in keys[start : start + 100]])
    found = client.list(prefix)
    assert [entry.key for entry in found.entries] == keys
    assert found.revision >= found.entries[-1].changed


def test_a_lease_takes_its_keys_with_it(client: Etcd, prefix: str) -> None:
    key, lease = f"{prefix}a", 0x7000_0000_0000_0001
    client.grant(lease, 60)
    client.grant(lease, 60)
    client.transact([], [Put(key, b"", lease)])
    assert client.transact([LeasedBy(key, lease)], []).is_done
    assert client.renew(lease) == 60
    assert 50 < client.time_to_live(lease) <= 60
    client.revoke(lease)
    client.revoke(lease)
    assert client.get(key) is None
    assert client.renew(lease) == 0
    assert client.time_to_live(lease) == -1


def test_a_watch_tells_every_change_since_the_revision(client: Etcd, prefix: str) -> None:
    key = f"{prefix}a"
    made = client.transact([], [Put(key, b"1")])
    client.transact([], [Put(f"/other{prefix}", b"")])
    watch = client.watch(prefix, made.revision)
    changed = client.transact([], [Put(key, b"2")])
    gone = client.transact([], [Delete(key)])
    seen: list[Change] = []
    for changes in watch.changes():
        seen += changes
        if len(seen) == 3:
            break
    assert seen == [
        Change(key, b"1", made.revision),
        Change(key, b"2", changed.revision),
        Change(key, None, gone.revision),
    ]
    assert watch.revision > 0


def test_a_watch_that_is_closed_lets_its_reader_go(client: Etcd, prefix: str) -> None:
    watch = client.watch(prefix, 0)
    ended: list[Exception] = []

    def read() -> None:
        try:
            list(watch.changes())
        except Unavailable as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    watch.close()
    reader.join(10)
    assert not reader.is_alive()
    assert len(ended) == 1


def test_a_watch_from_what_is_forgotten_says_so(cluster: EtcdCluster, client: Etcd, prefix: str) -> None:
    first = client.transact([], [Put(f"{prefix}a", b"1")]).revision
    last = client.transact([], [Put(f"{prefix}a", b"2")]).revision
    cluster.etcdctl("compaction", str(last))
    with pytest.raises(Compacted):
        list(client.watch(prefix, first).changes())


def test_an_etcd_that_is_away_is_said_at_once(tmp_path: Path) -> None:
    with etcd(tmp_path) as cluster:
        client = cluster.client()
        client.transact([], [Put("a", b"1")])
        cluster.members[0].kill()
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
            client.get("a")
        cluster.members[0].start()
        found = wait_for("etcd", lambda: _try(client))
        assert found == b"1"
        client.close()


def _try(client: Etcd) -> bytes | None:
    try:
        entry = client.get("a")
    except Unavailable:
        return None
    return entry.value if entry else None


def test_another_member_is_asked_when_one_is_gone_or_silent(tmp_path: Path) -> None:
    with etcd(tmp_path, members=3) as cluster:
        client = cluster.client()
        client.transact([], [Put("a", b"1")])
        watch = client.watch("a", 1)
        silent = cluster.member_at(client.endpoint)
        silent.pause()
        assert wait_for("another leader", lambda: _try(client)) == b"1"
        assert cluster.member_at(client.endpoint) is not silent
        with pytest.raises(Unavailable):  # a stream of the one that was given up on does not wait for ever
            list(watch.changes())
        silent.go_on()
        cluster.member_at(client.endpoint).kill()
        assert wait_for("another member", lambda: _try(client)) == b"1"
        client.close()


def test_nobody_claims_to_know_whether_a_lost_transaction_happened(cluster: EtcdCluster, prefix: str) -> None:
    client = cluster.client()
    client.get("a")
    cluster.members[0].pause()
    with pytest.raises(Uncertain):
        client.transact([], [Put(f"{prefix}a", b"1")], seconds=1)
    cluster.members[0].go_on()
    client.close()


def test_tls_with_a_certificate_for_each_side(tmp_path: Path) -> None:
    with etcd(tmp_path, is_tls=True) as cluster:
        client = cluster.client()
        assert client.transact([], [Put("a", b"1")]).is_done
        watch = client.watch("a", 1)
        assert next(iter(watch.changes()))[0].value == b"1"
        client.close()
        stranger = Etcd(cluster.endpoints, dataclasses.replace(cluster.credentials, certificate=None, key=None))
        with pytest.raises(Unavailable):
            stranger.get("a")
        other = tmp_path / "other.pem"
        other.write_bytes((tmp_path / "tls/client.pem").read_bytes())
        with pytest.raises(Unavailable, match="certificate verify failed"):
            Etcd(cluster.endpoints, dataclasses.replace(cluster.credentials, ca=other)).get("a")


def test_a_user_and_a_password(tmp_path: Path) -> None:
    with etcd(tmp_path, more=["--auth-token", "simple"]) as cluster:
        before = cluster.client()
        before.transact([], [Put("a", b"1")])
        cluster.ask_for_passwords()
        with pytest.raises(Forbidden, match="cluster-user"):
            before.get("a")
        cluster.credentials = dataclasses.replace(cluster.credentials, user="root", password="another")
        with pytest.raises(Forbidden, match="user root") as refused:
            cluster.client().get("a")
        assert "another" not in str(refused.value)
        cluster.credentials = dataclasses.replace(cluster.credentials, password=ROOT_PASSWORD)
        client = cluster.client()
        assert client.get("a") is not None
        cluster.members[0].kill()  # which forgets its tokens
        cluster.members[0].start()
        assert wait_for("etcd", lambda: _try(client)) == b"1"
        client.close()


def test_a_stream_that_is_refused_says_why_as_a_call_does() -> None:
    call = parse_fault(b'{"error":"x","message":"etcdserver: no leader","code":14}')
    stream = parse_fault(b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}')
    assert (stream.code, stream.message) == (call.code, call.message)
