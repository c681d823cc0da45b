"""One volume, two hosts that both want to write it, and everything that can happen to them.

A writer on each host writes numbered records to one file, and says so once a record is synced. Each start of a writer
is a generation: it takes the number after the newest that it finds. Whatever happens meanwhile, at the end

- no record of an older generation stands after one of a newer one, so there were never two writers;
- every record that was said to be synced is there;
- the file system is whole.

Each host has a wall clock that is set back and forth (support/wall_clock), and a CLOCK_BOOTTIME that begins anywhere
(a time namespace). The kernel lets nobody set the second while it runs; clocks of different speeds are tried in
unit/cluster/test_writers.py.
"""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from support.daemon import CHECKOUT, wait_for
from support.etcd_members import MEMBERS, needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san

pytestmark = [needs_etcd, needs_san, pytest.mark.slow]

LEASE_SECONDS = 4
# A torn line, which a death can leave, is ended first. `sync` that fails ends the writer.
WRITER = """
echo >> /d/log || exit 1
last=$(grep -aE '^[0-9]+ [0-9]+$' /d/log | tail -n 1 | cut -d ' ' -f 1)
mine=$((${last:-0} + 1)) n=0
while :; do
  n=$((n + 1))
  echo "$mine $n" >> /d/log || exit 1
  sync /d/log || exit 1
  echo "synced $mine $n"
done
"""


@pytest.fixture
def seed() -> int:
    found = int(os.environ.get("ORLOP_TEST_SEED", random.randrange(10**6)))
    print(f"ORLOP_TEST_SEED={found}")
    return found


@pytest.fixture
def pair(hosts: Hosts, busybox_tar: Path, seed: int) -> Iterator[tuple[Host, Host]]:
    """Their volume is encrypted where the seed is odd: then there are two programs between a writer and the device."""
    made = [hosts.add(name, "--cluster-lease", f"{LEASE_SECONDS}s") for name in ("a", "b")]
    for host in made:
        path = f"{CHECKOUT / 'tests/support/wall_clock'}:{CHECKOUT / 'src'}"
        host.environment |= {"PYTHONPATH": path, "ORLOP_TEST_CLOCK": str(_clock_of(host))}
        host.start()
        host.docker("import", busybox_tar, "busybox")
        host.orlop("secret", "create", "vault", stdin="the key of the tests")
    hosts.san.lun(1, 256 << 20)
    options = [word for key, value in hosts.san.options().items() for word in ("-o", f"{key}={value}")]
    encrypted = ["-d", "encrypted", "-o", "driver=san", "-o", "key=secret://vault"]
    made[0].docker("volume", "create", *(encrypted if seed % 2 else ["-d", "san"]), *options, "db")
    wait_for("the news", lambda: "db" in made[1].docker("volume", "ls", "-q").stdout.split())
    for host in made:
        host.docker("create", "--name", "writer", "--restart", "always", "-v", "db:/d", "busybox", "sh", "-c", WRITER)
    yield made[0], made[1]
    for host in made:
        hosts.heal(host)
        host.go_on()
        if not host.is_on:
            host.power_on()
        if not host.is_running:
            host.start()
    for host in made:
        host.docker("rm", "-f", "writer")


class Faults:
    """What can happen to a host, to etcd, and to what is between them. Every one is undone in the end."""

    def __init__(self, hosts: Hosts, chance: random.Random) -> None:
        self._hosts = hosts
        self._chance = chance
        self._undo: list[Callable[[], object]] = []
        self.told: list[str] = []
        self.count = 0
        self._of_hosts = [
            *(self._cut, self._cut, self._signal_helper, self._stop_daemon, self._kill_daemon, self._pause),
            *(self._stop_all_that_could_let_go, self._power_off, self._step_clock, self._take_over),
        ]
        self._of_etcd = [self._lose_leader, self._hang_leader, self._lose_majority, self._hang_majority]

    def happen(self, host: Host) -> float:
        """One or two at once. For how many leases they are to last."""
        kinds: list[Callable[[Host], object]] = [self._chance.choice([*self._of_hosts, *self._of_etcd])]
        if self._chance.random() < 0.4:
            second = self._of_etcd if kinds[0] in self._of_hosts else self._of_hosts
            kinds.append(self._chance.choice([*second, self._cut]))
        self.told.append(f"{host.name}:")
        for kind in kinds:
            if host.is_on and host.is_running:
                self.told[-1] += f" {getattr(kind, '__name__', '').strip('_')}"
                self.count += 1
                kind(host)
        print(time.strftime("%H:%M:%S"), self.told[-1], flush=True)
        return self._chance.uniform(0.2, 2.2)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _cut(self, host: Host) -> None:
        etcd, storage = self._chance.choice([(True, False), (False, True), (True, True)])
        self.told[-1] += f" ({'etcd ' * etcd}{'storage' * storage})"
        self._hosts.cut(host, etcd=etcd, storage=storage)
        self._undo.append(lambda: self._hosts.heal(host))

    def _signal_helper(self, host: Host) -> None:
        """The program that reaches the storage, its keeper, or who supervises a container."""
        number = self._chance.choice([signal.SIGSTOP, signal.SIGKILL])
        pids = host.pids(self._chance.choice(["qemu-storage-daemon", "orlop.kernel.leash", "gocryptfs -fg", "conmon"]))
        for pid in self._chance.sample(pids, min(len(pids), 1)):
            _signal(pid, number)
        self._undo.append(host.go_on)

    def _stop_daemon(self, host: Host) -> None:
        os.kill(host.pid, signal.SIGSTOP)
        self._undo.append(host.go_on)

    def _stop_all_that_could_let_go(self, host: Host) -> None:
        """The writer itself runs on: only the kernel is left to stop it."""
        for pid in (host.pid, *host.pids("orlop.kernel.leash"), *host.pids("conmon")):
            _signal(pid, signal.SIGSTOP)
        self._undo.append(host.go_on)

    def _kill_daemon(self, host: Host) -> None:
        host.kill()
        self._undo.append(host.start)

    def _pause(self, host: Host) -> None:
        host.pause()
        self._undo.append(host.go_on)

    def _power_off(self, host: Host) -> None:
        host.power_off()
        self._undo.append(host.start)
        self._undo.append(host.power_on)

    def _step_clock(self, host: Host) -> None:
        seconds = self._chance.choice([-1, 1]) * int(10 ** self._chance.uniform(0, 8))
        self.told[-1] += f" ({seconds} s)"
        _clock_of(host).write_text(str(seconds))

    def _take_over(self, host: Host) -> None:
        other = next(each for each in self._hosts.members.values() if each is not host)
        other.orlop("volume", "takeover", "db", code=None)

    # etcd

    def _lose_leader(self, host: Host) -> None:
        self._lose(self._hosts.etcd.leader() or MEMBERS[0])

    def _lose_majority(self, host: Host) -> None:
        for member in self._chance.sample(MEMBERS, 2):
            self._lose(member)

    def _lose(self, member: str) -> None:
        self._hosts.etcd.kill_member(member)
        self._undo.append(lambda: self._hosts.etcd.start_member(member))

    def _hang_leader(self, host: Host) -> None:
        self._hang(self._hosts.etcd.leader() or MEMBERS[0])

    def _hang_majority(self, host: Host) -> None:
        for member in self._chance.sample(MEMBERS, 2):
            self._hang(member)

    def _hang(self, member: str) -> None:
        self._hosts.etcd.signal(member, signal.SIGSTOP)
        self._undo.append(lambda: self._hosts.etcd.signal(member, signal.SIGCONT))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it ended meanwhile
        os.kill(pid, number)


def _clock_of(host: Host) -> Path:
    return host.home / "seconds-off"


def synced(of: Iterable[Host]) -> set[tuple[int, int]]:
    """What the writers said, as it stands on their hosts' own disks."""
    found: set[tuple[int, int]] = set()
    for host in of:
        for log in host.data_root.glob("containers/*/*log*"):
            said = log.read_bytes().decode(errors="replace") if log.is_file() else ""
            found |= {(int(mine), int(n)) for mine, n in re.findall(r"synced (\d+) (\d+)", said)}
    return found


def changes_of_hands(pair: tuple[Host, Host]) -> int:
    writers = sorted({(mine, host.name) for host in pair for mine, _ in synced([host])})
    return sum(before[1] != after[1] for before, after in pairwise(writers))


def check_order(records: list[tuple[int, int]]) -> list[str]:
    wrong = []
    for before, after in pairwise(records):
        if after[0] < before[0]:
            wrong.append(f"{after} of an older generation stands after {before}")
        elif after[0] == before[0] and after[1] != before[1] + 1:
            wrong.append(f"{after} stands after {before}")
    return wrong


def test_never_two_writers_and_nothing_synced_is_lost(
    hosts: Hosts,
    pair: tuple[Host, Host],
    seed: int,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    seconds = 600 if request.config.getoption("--long") else 20
    chance = random.Random(seed)
    faults = Faults(hosts, chance)
    for host in pair:
        host.docker("start", "writer", code=None)
    wait_for("records", lambda: len(synced(pair)) > 5, 60)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        before = len(synced(pair))
        writing = [host for host in pair if host.pids("qemu-storage-daemon")] or list(pair)
        leases = faults.happen(chance.choice(writing))
        time.sleep(leases * LEASE_SECONDS)
        faults.undo()
        for host in pair:
            host.docker("start", "writer", code=None)
        with told_on_failure(hosts, pair):
            what = f"records after {faults.told[-1]} (seed {seed})"
            wait_for(what, lambda n=before: len(synced(pair)) > n + 5, 90)  # type: ignore[misc]
    played = judge(hosts, pair, f"seed {seed}: {faults.told}")
    record_property("the checker", f"{faults.count} faults in {seconds} s, seed {seed}: {played}")


@contextmanager
def told_on_failure(hosts: Hosts, pair: tuple[Host, Host]) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        held = hosts.etcd.ctl("get", "--prefix", "/orlop/w") + hosts.etcd.ctl("endpoint", "status")
        told = [f"{error}\netcd holds {held}"]
        for host in pair:
            seen = host.docker("ps", "-a", code=None, timeout=20)
            told.append(f"HOST {host.name}: {seen.stdout}{seen.stderr}{host.pids()}\n{host.whole_log()[-20000:]}")
        raise AssertionError("\n".join(told)) from error


def judge(hosts: Hosts, pair: tuple[Host, Host], story: str) -> str:
    """How much was played."""
    for host in pair:
        host.docker("stop", "-t", "0", "writer", code=None)
    said = synced(pair)
    wait_for("etcd", lambda: not any(host.orlop("volume", "ls", code=None).stderr for host in pair), 60)
    mount = "type=volume,src=db,dst=/d,volume-opt=wait=60s"
    text = pair[0].docker("run", "--rm", "--mount", mount, "busybox", "cat", "/d/log", timeout=120).stdout
    records = [(int(mine), int(n)) for mine, n in re.findall(r"^(\d+) (\d+)$", text, re.MULTILINE)]
    assert check_order(records) == [], story
    assert said - set(records) == set(), story
    generations = {mine for mine, _ in records}
    played = f"{len(records)} records of {len(generations)} generations, {len(said)} said to be synced"
    print(f"{played}; {story}")
    image = hosts.san.luns[1]
    wait_for("the end of all access", lambda: not any(host.pids("qemu-storage-daemon") for host in pair), 60)
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{checked.stdout} {story}"
    return f"{played}, {changes_of_hands(pair)} changes of hands"


@pytest.mark.parametrize(
    ("records", "is_fine"),
    [
        ([(1, 1), (1, 2), (2, 1), (2, 2)], True),
        ([(1, 1), (2, 1), (1, 2)], False),
        ([(1, 1), (1, 3)], False),
        ([(1, 1), (1, 2), (1, 2)], False),
    ],
)
def test_the_checker_finds_what_it_is_there_for(records: list[tuple[int, int]], is_fine: bool) -> None:
    assert (not check_order(records)) is is_fine
