"""Write access between nodes that joined a real etcd."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.cluster.joined import JoinedCluster
from orlop.cluster.keys import Keys
from orlop.cluster.term import Term, boot_clock
from orlop.errors import OrlopError, WriterElsewhere
from orlop.model.cluster import Access, GlobalVolume
from support.daemon import wait_for
from support.etcd import EtcdCluster, etcd

TERM = Term(4)
VOLUME = GlobalVolume("db", "v1", "san", Access.RWO, 1, "a")
Join = Callable[[str], JoinedCluster]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture
def join(store: EtcdCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Join]:
    made: list[JoinedCluster] = []

    def join(name: str) -> JoinedCluster:
        keys, place = Keys(f"/{request.node.name}/"), tmp_path / name
        place.mkdir(exist_ok=True)
        credentials = store.credentials
        node = JoinedCluster(
            store.endpoints, credentials, keys, name, f"d-{name}", "1", place / "copy", place / "leashes", TERM
        )
        node.start()
        node.start_writing()
        made.append(node)
        return node

    yield join
    store.members[0].go_on()
    store.wait_until_it_answers()
    for node in made:
        node.close()


def test_one_has_it_and_keeps_it_and_all_know(join: Join) -> None:
    a, b = join("a"), join("b")
    mine = a.acquire(VOLUME, ["pg"])
    wait_for("the news", lambda: b.writer(VOLUME.id) == mine)
    began = time.monotonic()
    with pytest.raises(WriterElsewhere, match=r"node a writes to it since .*, for pg"):
        b.acquire(VOLUME, [], TERM.seconds * 1.5)
    assert time.monotonic() - began >= TERM.seconds * 1.5
    assert a.held() == {VOLUME.id: mine}


def test_who_waits_gets_it_when_it_is_released(join: Join) -> None:
    a, b = join("a"), join("b")
    a.acquire(VOLUME, [])
    threading.Timer(0.5, a.release, (VOLUME.id,)).start()
    assert b.acquire(VOLUME, [], 30).epoch == 2


def test_a_takeover_is_told_to_who_has_it_and_waits_until_that_one_let_go(join: Join) -> None:
    a, b = join("a"), join("b")
    lost: list[str] = []
    a.on_lost(lost.append)
    a.acquire(VOLUME, [])
    assert b.take_over(VOLUME).epoch == 2
    assert lost == [VOLUME.id]
    assert (dict(a.held()), a.leash(VOLUME.id)) == ({}, None)


def test_one_that_cannot_tear_down_is_waited_for_until_the_kernel_has_done_it(join: Join) -> None:
    a, b = join("a"), join("b")

    def cannot(volume_id: str) -> None:
        raise OSError("it hangs")

    a.on_lost(cannot)
    a.acquire(VOLUME, [])
    leash = a.leash(VOLUME.id)
    assert leash is not None
    b.take_over(VOLUME)
    assert not leash.exists()


def test_etcd_that_goes_silent_costs_write_access_in_time(join: Join, store: EtcdCluster) -> None:
    a = join("a")
    left: list[int] = []  # of the leash as it is then: an answer may have been on its way when etcd went silent
    a.on_lost(lambda volume_id: left.append(int(leash.read_text()) - boot_clock()))
    a.acquire(VOLUME, [])
    leash = a.leash(VOLUME.id)
    assert leash is not None
    store.members[0].pause()
    wait_for("the loss", lambda: left)
    assert left[0] > 0
    store.members[0].go_on()
    assert wait_for("etcd", lambda: _acquired(a)) == 2


def _acquired(node: JoinedCluster) -> int:
    try:
        return node.acquire(VOLUME, []).epoch
    except OrlopError:
        return 0


def test_a_daemon_that_comes_back_has_what_it_had(join: Join) -> None:
    a = join("a")
    mine = a.acquire(VOLUME, [])
    a.close()
    again = join("a")
    assert again.held()[VOLUME.id].epoch == mine.epoch
    assert again.acquire(VOLUME, []).epoch == mine.epoch
