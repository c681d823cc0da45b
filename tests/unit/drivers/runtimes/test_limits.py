"""What the host cannot give is left out or lowered, and said."""

import dataclasses
import resource

import pytest

from orlop.drivers.runtimes.cgroups import Controllers
from orlop.drivers.runtimes.driver import Process
from orlop.drivers.runtimes.limits import Limits
from orlop.errors import Malformed
from orlop.model.container import Resources, Ulimit

EVERYTHING = Controllers(memory=True, swap=True, cpu=True, cpu_quota=True, cpuset=True, pids=True)
NOTHING = Controllers(memory=False, swap=False, cpu=False, cpu_quota=False, cpuset=False, pids=False)
ALL_WISHES = Resources(
    memory_bytes=1 << 30,
    memory_reservation_bytes=1 << 20,
    memory_swap_bytes=1 << 31,
    nano_cpus=1,
    cpu_shares=2,
    cpuset_cpus="0",
    pids_limit=7,
)
CEILING = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_host_that_can_do_all_leaves_wishes_alone() -> None:
    limits = Limits(EVERYTHING, (), may_raise=True)
    assert limits.shortfalls(ALL_WISHES, [Ulimit("nofile", 1 << 40, 1 << 40)]) == []
    assert limits.possible(ALL_WISHES) == ALL_WISHES


def test_a_host_that_can_do_nothing_drops_all_and_says_each() -> None:
    limits = Limits(NOTHING, (), may_raise=True)
    assert limits.possible(ALL_WISHES) == Resources()
    assert len(limits.shortfalls(ALL_WISHES, [])) == 6
    assert limits.shortfalls(Resources(), []) == []


def test_memory_and_swap_together_are_twice_the_memory_unless_said() -> None:
    limits = Limits(EVERYTHING, (), may_raise=True)
    assert limits.possible(Resources(memory_bytes=100)).memory_swap_bytes == 200
    assert limits.possible(Resources(memory_bytes=100, memory_swap_bytes=-1)).memory_swap_bytes == -1


def test_memory_is_limited_without_swap_where_swap_is_not_counted() -> None:
    limits = Limits(dataclasses.replace(EVERYTHING, swap=False), (), may_raise=True)
    assert limits.possible(Resources(memory_bytes=100, memory_swap_bytes=300)) == Resources(memory_bytes=100)


def test_a_ulimit_is_lowered_to_the_daemons_own() -> None:
    limits = Limits(EVERYTHING, (), may_raise=False)
    process = Process(("true",), (), rlimits=(Ulimit("nofile", -1, -1), Ulimit("nofile", 1, 2)))
    assert limits.clamped(process).rlimits == (Ulimit("nofile", CEILING, CEILING), Ulimit("nofile", 1, 2))
    said = limits.shortfalls(Resources(), [Ulimit("nofile", 10, -1)])
    assert len(said) == 1
    assert f"nofile=10:-1 is more than this host allows the daemon to give: lowered to 10:{CEILING}" in said[0]


def test_nobody_is_made_dearer_to_the_kernel_than_the_daemon() -> None:
    limits = Limits(EVERYTHING, (), may_raise=False)
    lowest = limits.clamped(Process(("true",), (), oom_score_adj=-1000)).oom_score_adj
    assert lowest is not None
    assert lowest > -1000
    assert limits.clamped(Process(("true",), (), oom_score_adj=500)).oom_score_adj == 500
    assert limits.clamped(Process(("true",), ())).oom_score_adj is None
    assert Limits(EVERYTHING, (), True).clamped(Process(("x",), (), oom_score_adj=-1000)).oom_score_adj == -1000


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (Resources(nano_cpus=2_000_000_001), "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (Resources(cpuset_cpus="0-7"), "Requested CPUs are not available - requested 0-7, available: 0-1"),
        (Resources(cpuset_mems="1"), "Requested memory nodes are not available - requested 1, available: 0"),
        (Resources(cpuset_cpus="one"), "Invalid value one for cpuset cpus"),
        (Resources(cpuset_cpus="1-0"), "Invalid value 1-0 for cpuset cpus"),
        (Resources(cpuset_cpus="0-99999999999"), "Invalid value 0-99999999999 for cpuset cpus"),
        (Resources(cpuset_mems="-1"), "Invalid value -1 for cpuset mems"),
    ],
)
def test_what_there_is_not_is_refused(resources: Resources, said: str) -> None:
    with pytest.raises(Malformed) as raised:
        Limits(EVERYTHING, (), True, "0-1", "0").shortfalls(resources, [])
    assert said in raised.value.message


def test_all_that_there_is_may_be_asked_for() -> None:
    wanted = Resources(nano_cpus=2_000_000_000, cpuset_cpus="0,1", cpuset_mems="0")
    assert Limits(EVERYTHING, (), True, "0-1", "0").shortfalls(wanted, []) == []
