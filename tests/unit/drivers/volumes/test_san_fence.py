"""Who of several gets a device's reservation, played against one in memory that keeps SPC-4's rules."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from orlop.drivers.volumes import san_fence
from orlop.drivers.volumes.san_fence import fence_key, give, take
from orlop.kernel.scsi import Change, NotKnown, ReservationConflict


@dataclass
class Unit:
    """Each `fd` is a host."""

    registered: dict[int, int] = field(default_factory=dict)
    holder: int | None = None  # a host
    knows_abort: bool = True
    before: Callable[[int, Change], None] = lambda host, what: None

    def read_keys(self, host: int) -> list[int]:
        return list(self.registered.values())

    def read_holder(self, host: int) -> int:
        return 0 if self.holder is None else self.registered[self.holder]

    def can_last(self, host: int) -> bool:
        return True

    def change(self, host: int, what: Change, key: int, other: int = 0, lasting: bool = False) -> None:
        before, self.before = self.before, lambda host, what: None
        before(host, what)
        self.before = before
        if what is Change.PREEMPT_AND_ABORT and not self.knows_abort:
            raise NotKnown(95, "no")
        if what is Change.REGISTER_AND_IGNORE:
            self.registered[host] = other
            return
        if self.registered.get(host) != key:
            raise ReservationConflict(16, "no")
        if what is Change.REGISTER:
            del self.registered[host]
            self.holder = None if self.holder == host else self.holder
        elif what is Change.RESERVE:
            if self.holder not in (None, host):
                raise ReservationConflict(16, "no")
            self.holder = host
        else:
            gone = [each for each, known in self.registered.items() if known == other]
            if not gone:
                raise ReservationConflict(16, "no")
            if self.holder in gone:
                self.holder = host
            for each in gone:
                if each != host:
                    del self.registered[each]


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> Unit:
    made = Unit()
    for name in ("read_keys", "read_holder", "can_last", "change"):
        monkeypatch.setattr(san_fence, name, getattr(made, name))
    return made


def test_the_first_gets_it_and_giving_it_leaves_nothing(unit: Unit) -> None:
    take(1, 5)
    assert unit.holder == 1 and unit.registered == {1: fence_key(5)}
    take(1, 5)
    give(1, 5)
    assert unit.holder is None and not unit.registered
    give(1, 5)


def test_the_next_takes_it_and_the_one_before_is_no_part_of_it_any_more(unit: Unit) -> None:
    take(1, 5)
    take(2, 6)
    assert unit.holder == 2 and unit.registered == {2: fence_key(6)}
    give(1, 5)
    assert unit.holder == 2


def test_one_whose_time_is_over_gets_nothing_and_leaves_nothing(unit: Unit) -> None:
    take(2, 6)
    with pytest.raises(san_fence.NotFenced, match="another host"):
        take(1, 5)
    assert unit.holder == 2 and unit.registered == {2: fence_key(6)}


def test_one_that_is_overtaken_half_way_gets_nothing(unit: Unit) -> None:
    take(1, 5)

    def overtake(host: int, what: Change) -> None:
        if what is Change.PREEMPT_AND_ABORT and unit.holder == 1 and 3 not in unit.registered:
            take(3, 7)

    unit.before = overtake
    with pytest.raises(san_fence.NotFenced, match="another host"):
        take(2, 6)
    assert unit.holder == 3 and unit.registered == {3: fence_key(7)}


def test_what_somebody_else_has_reserved_is_not_taken(unit: Unit) -> None:
    unit.registered, unit.holder = {9: 0x1234}, 9
    with pytest.raises(san_fence.NotFenced, match="something else"):
        take(1, 5)
    assert unit.holder == 9 and unit.registered == {9: 0x1234}


def test_why_it_was_not_taken_is_told_also_where_the_registration_stays(unit: Unit) -> None:
    unit.registered, unit.holder = {9: 0x1234}, 9

    def break_off(host: int, what: Change) -> None:
        if what is Change.REGISTER:
            raise OSError(5, "the connection is gone")

    unit.before = break_off
    with pytest.raises(san_fence.NotFenced, match="something else"):
        take(1, 5)


def test_a_unit_that_does_not_end_what_is_on_its_way_is_refused_before_it_matters(unit: Unit) -> None:
    unit.knows_abort = False
    with pytest.raises(san_fence.NotFenced, match="PREEMPT AND ABORT"):
        take(1, 5)
    assert not unit.registered
