"""Write access, against a store in memory and clocks that the tests move."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orlop.cluster.etcd import Put
from orlop.cluster.keys import Keys
from orlop.cluster.term import Term
from orlop.cluster.writers import Writers
from orlop.errors import OrlopError, Unavailable, WriterElsewhere
from orlop.model.cluster import Access, GlobalVolume
from support.daemon import wait_for
from support.fake_etcd import FakeClient, FakeEtcd

TERM = Term(20)
KEYS = Keys()
VOLUME = GlobalVolume("db", "v1", "san", Access.RWO, 1, "a")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def at(self, rate: float = 1.0, offset: float = 0.0) -> Callable[[], int]:
        return lambda: int((self.seconds * rate + offset) * 1e9)


class PlayedNode:
    """A node, what its storage's program may do, and work that its threads have not come to yet."""

    def __init__(self, name: str, etcd: FakeEtcd, place: Path, clock: Callable[[], int]) -> None:
        self.name, self.place, self.clock = name, place / name, clock
        self.client = FakeClient(etcd)
        self.waiting: list[Callable[[], None]] = []
        self.lost: list[str] = []
        self.program: tuple[Path, int] | None = None  # its leash, and the time that it read there
        self.start()

    def start(self) -> None:
        """Of the daemon, which knows nothing but what is on the disk."""
        self.waiting.clear()
        state, leashes = self.place / "writing.json", self.place / "leashes"
        self.writers = Writers(
            self.client, KEYS, self.name, state, leashes, TERM, self.clock, lambda work, _: self.waiting.append(work)
        )
        self.writers.on_lost(self._let_go)
        self.writers.resume()

    def _let_go(self, volume_id: str) -> None:
        self.lost.append(volume_id)
        self.program = None

    def work(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def acquire(self) -> int:
        epoch = self.writers.acquire(VOLUME, ["pg"]).epoch
        leash = self.writers.leash(VOLUME.id)
        assert leash is not None
        if self.program is None or self.program[0] != leash:
            self.program = (leash, int(leash.read_text()))
        return epoch

    def release(self) -> None:
        self.program = None
        self.writers.release(VOLUME.id)

    def look(self) -> None:
        """As the keeper does."""
        if self.program is not None and self.clock() < self.program[1]:
            leash, until = self.program
            now = int(leash.read_text()) if leash.exists() else 0
            self.program = (leash, max(until, now)) if now else None

    @property
    def may_write(self) -> bool:
        return self.program is not None and self.clock() < self.program[1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def etcd(clock: Clock) -> FakeEtcd:
    return FakeEtcd(clock.at())


@pytest.fixture
def a(etcd: FakeEtcd, clock: Clock, tmp_path: Path) -> PlayedNode:
    return PlayedNode("a", etcd, tmp_path, clock.at(offset=50))


@pytest.fixture
def b(etcd: FakeEtcd, clock: Clock, tmp_path: Path) -> PlayedNode:
    return PlayedNode("b", etcd, tmp_path, clock.at(offset=7000))


def test_who_waits_gets_back_what_this_host_is_just_losing(a: PlayedNode, b: PlayedNode) -> None:
    assert a.acquire() == 1
    a.writers.is_wanted(VOLUME.id, "b")
    with pytest.raises(Unavailable, match="lets go of it first"):
        a.writers.acquire(VOLUME, [])
    threading.Timer(0.2, a.work).start()
    assert a.writers.acquire(VOLUME, [], 30).epoch == 2


def test_the_second_is_told_who_writes_since_when_for_whom_and_what_to_do(a: PlayedNode, b: PlayedNode) -> None:
    assert a.acquire() == 1
    with pytest.raises(WriterElsewhere) as refused:
        b.acquire()
    for word in ("volume db", "node a", "since 20", "pg", "wait=60s", "orlop volume takeover db"):
        assert word in refused.value.message


def test_having_it_already_is_success_and_the_same_epoch(a: PlayedNode) -> None:
    assert [a.acquire(), a.acquire()] == [1, 1]


def test_what_is_released_another_may_have_under_a_new_epoch(a: PlayedNode, b: PlayedNode) -> None:
    a.acquire()
    a.release()
    assert b.acquire() == 2
    a.release()  # nothing held is success, and takes nothing from b
    with pytest.raises(WriterElsewhere):
        a.acquire()


def test_renewed_it_lasts(a: PlayedNode, b: PlayedNode, clock: Clock) -> None:
    a.acquire()
    for _ in range(30):
        clock.seconds += TERM.renewal_seconds
        a.writers.renew()
        a.writers.check()
        a.look()
    assert a.may_write
    with pytest.raises(WriterElsewhere):
        b.acquire()


def test_who_cannot_renew_lets_go_well_before_another_may_have_it(a: PlayedNode, b: PlayedNode, clock: Clock) -> None:
    a.acquire()
    a.client.fate = "cut"
    clock.seconds += 11
    a.writers.renew()
    a.writers.check()
    assert not a.waiting
    clock.seconds += 2
    a.writers.check()
    a.work()
    assert a.lost == [VOLUME.id]
    with pytest.raises(WriterElsewhere) as refused:
        b.acquire()
    assert "not heard of lately, and loses it in 8 s" in refused.value.message
    clock.seconds += 7.1
    assert b.acquire() == 2


def test_when_nobody_lets_go_the_leash_is_over_before_another_may_have_it(a: PlayedNode, clock: Clock) -> None:
    a.acquire()
    clock.seconds += 17.9
    assert a.may_write
    clock.seconds += 0.2
    assert not a.may_write


def test_an_answer_that_comes_too_late_is_no_renewal(a: PlayedNode, clock: Clock, etcd: FakeEtcd) -> None:
    a.acquire()
    clock.seconds += 12.1
    a.writers.check()
    a.writers.renew()  # etcd would still do it
    a.work()
    assert (a.lost, a.may_write) == ([VOLUME.id], False)
    assert a.acquire() == 2


def test_a_daemon_that_comes_back_in_time_goes_on(a: PlayedNode, clock: Clock) -> None:
    a.acquire()
    clock.seconds += 10
    a.start()
    assert a.writers.held()[VOLUME.id].epoch == 1
    a.look()
    clock.seconds += 10
    assert a.may_write
    assert a.acquire() == 1


def test_a_daemon_that_comes_back_too_late_has_lost_it(a: PlayedNode, clock: Clock) -> None:
    a.acquire()
    clock.seconds += 18.5  # etcd would still renew it, but what wrote was ended
    a.start()
    a.work()
    assert (a.lost, dict(a.writers.held())) == ([VOLUME.id], {})
    assert a.acquire() == 2


def test_a_daemon_that_comes_back_while_etcd_is_away_keeps_to_its_time(a: PlayedNode, clock: Clock) -> None:
    a.acquire()
    a.client.fate = "cut"
    clock.seconds += 6
    a.start()
    assert VOLUME.id in a.writers.held()
    clock.seconds += 6.1
    a.writers.check()
    a.work()
    assert a.lost == [VOLUME.id]


def test_a_node_that_is_asked_to_lets_go_and_leaves_it_to_the_one_who_asked(
    a: PlayedNode, b: PlayedNode, etcd: FakeEtcd
) -> None:
    a.acquire()
    etcd.do([Put(KEYS.wish(VOLUME.id), b"b")])
    a.writers.is_wanted(VOLUME.id, "b")
    assert VOLUME.id not in a.writers.held()
    with pytest.raises(Unavailable, match="about to lose"):
        a.acquire()
    a.work()
    assert a.lost == [VOLUME.id]
    with pytest.raises(WriterElsewhere, match="node b is taking it over"):
        a.acquire()
    assert b.acquire() == 2


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_not_let_go_of_is_free_at_the_end_of_its_leash_and_here_when_that_work_has_ended(
    a: PlayedNode, b: PlayedNode, clock: Clock, fails: bool
) -> None:
    hangs, may_end = threading.Event(), threading.Event()

    def let_go(volume_id: str) -> None:
        hangs.set()
        may_end.wait(30)
        if fails:
            raise Unavailable("cutting it off", "the storage gives no answer")

    a.acquire()
    a.writers.on_lost(let_go)
    a.writers.is_wanted(VOLUME.id, "b")
    losing = threading.Thread(target=a.work, daemon=True)
    losing.start()
    assert hangs.wait(30)
    with pytest.raises(WriterElsewhere):
        b.acquire()
    for _ in range(4):
        clock.seconds += TERM.seconds / 4
        a.writers.renew()  # its lease goes on, with other volumes under it
    a.program = None  # as the keeper does
    assert wait_for("its end", lambda: a.writers.leash(VOLUME.id) is None)
    b.writers.acquire(VOLUME, [], 30)
    b.release()
    with pytest.raises(Unavailable, match="lets go of it first"):
        a.acquire()
    may_end.set()
    losing.join(30)
    assert a.acquire() == 3


def test_a_takeover_of_what_nobody_has_is_an_acquisition(a: PlayedNode) -> None:
    assert a.writers.take_over(VOLUME).epoch == 1


def _taking_over(a: PlayedNode, b: PlayedNode, etcd: FakeEtcd) -> tuple[threading.Thread, list[int]]:
    """b takes it over from a, and waits until a has let go."""
    taken: list[int] = []
    taking = threading.Thread(target=lambda: taken.append(b.writers.take_over(VOLUME).epoch), daemon=True)
    taking.start()
    wait_for("the wish", lambda: KEYS.wish(VOLUME.id) in etcd.entries)
    return taking, taken


def test_a_wish_stays_although_the_node_has_nothing_else_under_its_lease(
    a: PlayedNode, b: PlayedNode, etcd: FakeEtcd
) -> None:
    a.acquire()
    taking, taken = _taking_over(a, b, etcd)
    b.writers.tidy()
    a.writers.is_wanted(VOLUME.id, "b")
    a.work()
    with pytest.raises(WriterElsewhere, match=r"node b (is taking it over|writes to it)"):
        a.acquire()
    taking.join(30)
    assert taken == [2]
    b.release()
    b.writers.tidy()
    assert not etcd.leases.keys() & {entry.lease for entry in etcd.entries.values()}
    assert KEYS.wish(VOLUME.id) not in etcd.entries


def test_a_wish_that_went_with_its_lease_is_put_under_the_next_one(
    a: PlayedNode, b: PlayedNode, etcd: FakeEtcd
) -> None:
    a.acquire()
    taking, taken = _taking_over(a, b, etcd)
    etcd.revoke(etcd.entries[KEYS.wish(VOLUME.id)].lease)
    b.writers.renew()
    wait_for("the wish again", lambda: KEYS.wish(VOLUME.id) in etcd.entries)
    a.release()
    taking.join(30)
    assert taken == [2]


@pytest.mark.parametrize("is_over", [False, True])
def test_a_wish_that_is_told_of_while_access_is_being_given_is_heeded_if_it_still_stands(
    a: PlayedNode, etcd: FakeEtcd, is_over: bool
) -> None:
    transact = a.client.transact

    def tell_when_it_is_given(*arguments: object, **more: object) -> object:
        outcome = transact(*arguments, **more)  # type: ignore[arg-type]
        if KEYS.writer(VOLUME.id) in etcd.entries and not a.writers.held() and not a.waiting:
            if not is_over:
                etcd.do([Put(KEYS.wish(VOLUME.id), b"b")])
            a.writers.is_wanted(VOLUME.id, "b")
        return outcome

    a.client.transact = tell_when_it_is_given  # type: ignore[method-assign, assignment]
    a.writers.acquire(VOLUME, [])
    a.work()
    assert a.lost == ([] if is_over else [VOLUME.id])


@pytest.mark.parametrize("fate", ["lost before", "lost after"])
def test_an_answer_that_was_lost_leaves_nothing_behind(a: PlayedNode, b: PlayedNode, fate: str) -> None:
    b.writers.acquire(VOLUME, [])
    b.release()
    transact = a.client.transact
    calls = iter(range(9))

    def lose_the_second(*arguments: object, **more: object) -> object:
        a.client.fate = fate if next(calls) == 1 else ""
        return transact(*arguments, **more)  # type: ignore[arg-type]

    a.client.transact = lose_the_second  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        a.acquire()
    a.writers.tidy()
    assert b.acquire() == (2 if fate == "lost before" else 3)


def test_a_lease_that_is_not_needed_is_given_back(a: PlayedNode, etcd: FakeEtcd) -> None:
    a.acquire()
    a.writers.tidy()
    assert len(etcd.leases) == 1
    a.release()
    a.writers.tidy()
    assert etcd.leases == {}
    assert a.acquire() == 2


@settings(max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
class OneWriter(RuleBasedStateMachine):
    """Three nodes whose clocks run up to five percent fast or slow. Daemons are slow, killed and cut off, answers are
    lost: whatever happens, no two may write at once, and no epoch comes twice."""

    nodes = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.clock = Clock()
        etcd = self.etcd = FakeEtcd(self.clock.at(rate=1.05))
        rates = {"a": 0.95, "b": 1.0, "c": 1.05}
        place = Path(self.folder.name)
        self.played = {
            name: PlayedNode(name, etcd, place, self.clock.at(rate, 1000 * rate)) for name, rate in rates.items()
        }
        self.epochs: dict[int, str] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(seconds=st.floats(0.1, 15))
    def time_passes(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @rule(name=nodes)
    def acquires(self, name: str) -> None:
        try:
            epoch = self.played[name].acquire()
        except OrlopError:
            return
        assert self.epochs.setdefault(epoch, name) == name
        assert epoch == max(self.epochs)

    @rule(name=nodes)
    def releases(self, name: str) -> None:
        self.played[name].release()

    @rule(name=nodes)
    def renews(self, name: str) -> None:
        self.played[name].writers.renew()

    @rule()
    def all_are_well_for_a_while(self) -> None:
        for _ in range(3):
            self.clock.seconds += 2
            for node in self.played.values():
                node.writers.renew()
                node.writers.check()
                node.writers.tidy()
                node.look()
                node.work()

    @rule(name=nodes)
    def checks(self, name: str) -> None:
        self.played[name].writers.check()

    @rule(name=nodes)
    def works(self, name: str) -> None:
        self.played[name].work()

    @rule(name=nodes)
    def tidies(self, name: str) -> None:
        self.played[name].writers.tidy()

    @rule(name=nodes)
    def the_keeper_looks(self, name: str) -> None:
        self.played[name].look()

    @rule(name=nodes, fate=st.sampled_from(["", "cut", "lost before", "lost after"]))
    def the_network_changes(self, name: str, fate: str) -> None:
        self.played[name].client.fate = fate

    @rule(name=nodes)
    def the_daemon_starts_anew(self, name: str) -> None:
        self.played[name].start()

    @precondition(lambda self: KEYS.writer(VOLUME.id) in self.etcd.entries)
    @rule(name=nodes, other=nodes)
    def it_is_wanted(self, name: str, other: str) -> None:
        self.etcd.do([Put(KEYS.wish(VOLUME.id), name.encode())])
        self.played[other].writers.is_wanted(VOLUME.id, name)

    @rule()
    def nobody_wants_it_any_more(self) -> None:
        self.etcd.entries.pop(KEYS.wish(VOLUME.id), None)

    @invariant()
    def at_most_one_may_write(self) -> None:
        self.etcd.expire()
        writing = [node.name for node in self.played.values() if node.may_write]
        assert len(writing) <= 1, writing


TestOneWriter = OneWriter.TestCase
