"""What a hundred hosts and ten thousand volumes cost: hosts that are nothing but their part of the cluster (its copy,
its watch, its membership), many in one process, on one etcd of three members.

They share this machine's processors, so a change is read a hundred times where a hundred machines would read it once
each: until all have seen it is the worst of it.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import quantiles

from bench.table import Row, Table
from orlop.cluster.address import Credentials, parse_endpoints
from orlop.cluster.etcd import Put
from orlop.cluster.joined import JoinedCluster
from orlop.cluster.keys import Keys, render
from orlop.model.cluster import Access, GlobalVolume
from support.daemon import wait_for
from support.etcd import EtcdCluster, etcd

HOSTS, VOLUMES, PROCESSES = 100, 10_000, 10
PUBLISHED, IDLE_SECONDS = 200, 60.0
_BATCH = 100
_PROBE = "probe"
_TICKS = os.sysconf("SC_CLK_TCK")

_OF = f"{HOSTS} hosts, {VOLUMES} volumes"
JOIN, STORM = f"fleet: a host joins and loads all, {_OF}", f"fleet: {HOSTS} hosts join at once, until the last is in"
PUBLISH, PUBLISH_99 = f"fleet: a volume is published, {_OF}", "fleet: the same, slowest of a hundred"
SEEN, SEEN_99 = "fleet: until all hosts know it", "fleet: the same, slowest of a hundred, until all know it"
FIND = "fleet: all volumes found for a listing, right after a change"
IDLE, ETCD_CPU = (
    "fleet: requests of a host that does nothing",
    "fleet: processor time of etcd, hosts do nothing",
)
HOST_CPU, HOST_MEMORY = "fleet: processor time of a host that does nothing", "fleet: memory of a host for its copy"
COPY, BACK = "fleet: a host's copy on disk", "fleet: etcd was gone for 5 s, until all hosts follow it again"
NAMES = (STORM, JOIN, PUBLISH, PUBLISH_99, SEEN, SEEN_99, FIND, IDLE, ETCD_CPU, HOST_CPU, HOST_MEMORY, COPY, BACK)


def measure_all(table: Table, folder: Path, scale: float) -> None:
    hosts, volumes = max(PROCESSES, int(HOSTS * scale)), max(_BATCH, int(VOLUMES * scale))
    with etcd(folder / "etcd", members=3) as store, _Fleet(store, folder, hosts) as fleet:
        fill(store, volumes)
        for name, unit, values in fleet.measure(volumes, IDLE_SECONDS * min(1.0, scale * 5)):
            table.add(Row(name, unit, "", {"global": values}))


def volume(number: int) -> GlobalVolume:
    """As large as they are."""
    options = {
        "meta": "redis://10.0.0.5:6379/1",
        "name": f"tree-{number}",
        "bucket": f"http://10.0.0.6:8333/tree-{number}",
        "access-key": "secret://s3id",
        "secret-key": "secret://s3key",
    }
    labels = {"com.docker.compose.project": f"project-{number // 10}", "com.docker.compose.volume": "data"}
    return GlobalVolume(
        f"project-{number // 10}_data{number}", f"{number:064x}", "juicefs", Access.RWX, 10**18, "n0", labels, options
    )


def fill(store: EtcdCluster, volumes: int) -> None:
    client, keys = store.client(), Keys()
    made = [volume(number) for number in range(volumes)]
    for start in range(0, volumes, _BATCH):
        client.transact([], [Put(keys.volume(each.name), render(each)) for each in made[start : start + _BATCH]])
    client.close()


def join(store_address: str, folder: Path, name: str) -> JoinedCluster:
    place = folder / name
    place.mkdir(parents=True)
    made = JoinedCluster(
        parse_endpoints(store_address),
        Credentials(),
        Keys(),
        name,
        f"d-{name}",
        "bench",
        place / "cluster.json",
        place / "leashes",
    )
    made.start()
    return made


class _Fleet:
    def __init__(self, store: EtcdCluster, folder: Path, hosts: int) -> None:
        self._store, self._folder, self._hosts = store, folder, hosts
        self._processes: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()

    def __enter__(self) -> "_Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for process in self._processes:
            process.kill()
            process.wait()

    def measure(self, volumes: int, idle_seconds: float) -> Iterator[tuple[str, str, list[float]]]:
        first = join(self._store.address, self._folder, "n0")
        self._stack.callback(first.close)
        yield STORM, "s", [self._start()]
        yield JOIN, "s", self._joins()
        published, seen, found = self._publish(first, volumes)
        yield PUBLISH, "ms", published
        yield PUBLISH_99, "ms", [_slowest(published)]
        yield SEEN, "ms", seen
        yield SEEN_99, "ms", [_slowest(seen)]
        yield FIND, "ms", found
        yield from self._idle(idle_seconds)
        yield COPY, "MB", [(self._folder / "n0" / "cluster.json").stat().st_size / 1e6]
        yield BACK, "s", [self._outage()]

    def _start(self) -> float:
        begin = time.monotonic()
        each = self._hosts // PROCESSES
        for number in range(PROCESSES):
            words = [sys.executable, "-m", __name__, self._store.address, str(self._folder), f"p{number}", str(each)]
            self._processes.append(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment())
            )
        for process in self._processes:
            _said(process, "joined")
        return time.monotonic() - begin

    def _joins(self) -> list[float]:
        taken = []
        for number in range(5):
            begin = time.monotonic()
            one = join(self._store.address, self._folder, f"late{number}")
            taken.append(time.monotonic() - begin)
            one.close()
        return taken

    def _publish(self, first: JoinedCluster, volumes: int) -> tuple[list[float], list[float], list[float]]:
        published, seen, found = [], [], []
        for number in range(PUBLISHED):
            wish = replace(volume(volumes + number), name=f"{_PROBE}{number}")
            begin = time.monotonic()
            first.publish(wish)
            published.append((time.monotonic() - begin) * 1000)
            listed = time.monotonic()
            assert len(first.volumes()) == volumes + number + 1
            found.append((time.monotonic() - listed) * 1000)
            last = max(float(_said(process, wish.name)) for process in self._processes)
            seen.append((last - begin) * 1000)
        return published, seen, found

    def _idle(self, seconds: float) -> Iterator[tuple[str, str, list[float]]]:
        before, etcd_before = self._asked(), self._etcd_seconds()
        time.sleep(seconds)
        after, etcd_after = self._asked(), self._etcd_seconds()
        minutes = seconds / 60
        requests, used, memory = (sum(each) for each in zip(*after, strict=True))
        requests -= sum(each[0] for each in before)
        used -= sum(each[1] for each in before)
        yield IDLE, "each minute", [requests / self._hosts / minutes]
        yield ETCD_CPU, "s each minute", [(etcd_after - etcd_before) / minutes]
        yield HOST_CPU, "ms each minute", [used / self._hosts / minutes * 1000]
        yield HOST_MEMORY, "MB", [memory / self._hosts]

    def _asked(self) -> list[tuple[float, float, float]]:
        """Requests, seconds of processor time and megabytes of each process."""
        for process in self._processes:
            assert process.stdin is not None
            print("count", file=process.stdin, flush=True)
        return [tuple(map(float, _said(process, "count").split())) for process in self._processes]  # type: ignore[misc]

    def _etcd_seconds(self) -> float:
        spent = 0
        for member in self._store.members:
            assert member.process is not None
            fields = Path(f"/proc/{member.process.pid}/stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])
        return spent / _TICKS

    def _outage(self) -> float:
        for member in self._store.members:
            member.kill()
        time.sleep(5)
        self._store.wait_until_it_answers()
        begin = time.monotonic()
        for process in self._processes:
            assert process.stdin is not None
            print("back", file=process.stdin, flush=True)
        for process in self._processes:
            _said(process, "back")
        return time.monotonic() - begin


def _slowest(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98]


def _said(process: "subprocess.Popen[str]", word: str) -> str:
    """What stands behind that word; lines about others are older."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        first, _, rest = line.strip().partition(" ")
        if first == word:
            return rest
    raise AssertionError(f"simulated hosts ended before they said {word}")


def _environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


# The simulated hosts


class _Seen:
    """Says when the last host of this process knew of a volume."""

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts
        self._counts: dict[str, Iterator[int]] = {}

    def told(self, name: str) -> None:
        if name.startswith(_PROBE) and next(self._counts.setdefault(name, count(1))) == self._hosts:
            print(name, time.monotonic(), flush=True)


@contextmanager
def _hosts(address: str, folder: Path, process: str, number: int) -> Iterator[list[JoinedCluster]]:
    made: list[JoinedCluster] = []
    seen = _Seen(number)
    try:
        for each in range(number):
            one = join(address, folder, f"{process}h{each}")
            one.on_change(seen.told)
            made.append(one)
        yield made
    finally:
        for one in made:
            one.close()


def main() -> None:
    address, folder, process, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    before = _resident_kilobytes()
    with _hosts(address, folder, process, number) as made:
        print("joined", flush=True)
        for line in sys.stdin:
            if line.strip() == "back":
                wait_for("etcd", lambda: all(one.is_current for one in made), 120)
                print("back", flush=True)
                continue
            used = resource.getrusage(resource.RUSAGE_SELF)
            spent = used.ru_utime + used.ru_stime
            memory = (_resident_kilobytes() - before) / 1e3
            print("count", sum(one.etcd.requests for one in made), spent, memory, flush=True)


def _resident_kilobytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
