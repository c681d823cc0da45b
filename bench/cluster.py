"""Several hosts: what a volume of the cluster costs against a local one, how long it takes until another host writes,
and what etcd is asked.

Hosts as the tests have them: two in a cluster with three members of etcd, and two that are alone, so that a volume of
the cluster stands beside one of the same driver without a cluster, and beside a local one.
"""

import argparse
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from bench import fleet
from bench.http import Client, Refused, timed
from bench.material import Material
from bench.rounds import TooLong, interleaved, within
from bench.table import Row, Table
from support.daemon import docker_commands, run_command, wait_for
from support.etcd_members import MEMBERS
from support.hosts import Host, Hosts
from support.images import write_busybox_tar

SIDES = ("global", "alone", "local")
LEASE_SECONDS = 6
VOLUMES, ROUNDS, CHANGES = 1000, 10, 3
CALLS_SECONDS, CHANGE_SECONDS, WATCHED_SECONDS = 120.0, 60.0, 60.0
# Never mounted here: what is compared is what is known of a volume, not its storage.
_ELSEWHERE = {"meta": "redis://10.77.0.99/1", "name": "tree"}
_WRITE = ["sh", "-c", "date >> /d/log && sync /d/log"]

CREATE, INSPECT = "cluster: volume create", "cluster: volume inspect"
LIST, NEWS = f"cluster: volume list, N = {VOLUMES}", "cluster: made on one host until the other lists it"
STOPPED, TAKEN = "cluster: rwo, writer removed there until written here", "cluster: rwo, takeover until written here"
KILLED = f"cluster: rwo, host killed until written here, lease of {LEASE_SECONDS} s"
IDLE = "cluster: etcd requests of a host that does nothing"
WRITING = f"cluster: etcd requests of a host that writes, lease of {LEASE_SECONDS} s"
NAMES = (CREATE, INSPECT, LIST, NEWS, STOPPED, TAKEN, KILLED, IDLE, WRITING)

Side = Generator[float, None, None]


@dataclass(frozen=True)
class Ships:
    hosts: Hosts
    a: Host
    b: Host
    clients: Mapping[str, Client]  # by the name of the host


def names(options: argparse.Namespace) -> list[str]:
    return [*_chosen(NAMES, options), *_chosen(fleet.NAMES, options)]


def _chosen(among: Sequence[str], options: argparse.Namespace) -> list[str]:
    return [name for name in among if not options.case or any(part in name for part in options.case)]


def measure_all(material: Material, options: argparse.Namespace) -> Table:
    table = Table(SIDES)
    table.begin()
    if chosen := _chosen(NAMES, options):
        _measure_ships(table, chosen, material, options)
    if _chosen(fleet.NAMES, options):  # all of them: each is what the one before leaves
        fleet.measure_all(table, material.folder / "fleet", material.scale)
    return table


def _measure_ships(table: Table, chosen: Sequence[str], material: Material, options: argparse.Namespace) -> None:
    with _ships(material.folder / "hosts") as ships:
        cluster = _Cluster(ships, material, table, options)
        for name in chosen:
            table.announce(name)
            cluster.measure(name)


@contextmanager
def _ships(place: Path) -> Iterator[Ships]:
    place.mkdir()
    image = write_busybox_tar(place / "busybox.tar")
    hosts = Hosts(place, next(iter(docker_commands().values()), None))
    clients: dict[str, Client] = {}
    try:
        hosts.etcd.start()
        hosts.san.start()
        a, b = (hosts.add(name, "--cluster-lease", f"{LEASE_SECONDS}s") for name in ("a", "b"))
        others = [hosts.add(name, joins=False) for name in SIDES[1:]]
        for host in (a, b, *others):
            host.start()
            host.docker("import", image, "busybox")
            clients[host.name] = Client(host.socket)
        yield Ships(hosts, a, b, clients)
    finally:
        for client in clients.values():
            client.close()
        with suppress(AssertionError):  # told when the hosts are closed
            for host in hosts.members.values():
                host.revive()
        hosts.close()


class _Cluster:
    def __init__(self, ships: Ships, material: Material, table: Table, options: argparse.Namespace) -> None:
        self._ships, self._material, self._table, self._rounds = ships, material, table, options.rounds
        self._devices = count(1)

    def measure(self, name: str) -> None:
        begin = time.monotonic()
        values: dict[str, list[float]] = {}
        troubles: list[str] = []
        unit, wanted = "ms", ""
        try:
            if name in (CREATE, INSPECT, LIST):
                values, troubles = self._calls(name)
            elif name == NEWS:
                values = {"global": self._several(self._news, ROUNDS)}
            elif name in (STOPPED, TAKEN, KILLED):
                unit, wanted = "s", f"≤ {LEASE_SECONDS + 2} s" if name == KILLED else ""
                values = {"global": self._changes(name)}
            else:
                extra = 360 // LEASE_SECONDS if name == WRITING else 0
                unit, wanted = "each minute", f"{12 + extra}"
                values = {"global": [self._requests(name == WRITING)]}
        except (AssertionError, TooLong, Refused, OSError) as error:
            troubles.append(f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - begin
        self._table.add(Row(name, unit, wanted, values, troubles, seconds=seconds))

    # Calls

    def _calls(self, name: str) -> tuple[dict[str, list[float]], list[str]]:
        """A volume of the cluster is made on a and asked for on b."""
        ask = {CREATE: self._create, INSPECT: self._inspect, LIST: self._list}[name]
        elsewhere, clients = {"Driver": "juicefs", "DriverOpts": _ELSEWHERE}, self._ships.clients
        sides = {
            "global": partial(ask, elsewhere, clients["a"], clients["b"]),
            "alone": partial(ask, elsewhere, clients["alone"], clients["alone"]),
            "local": partial(ask, {"Driver": "local"}, clients["local"], clients["local"]),
        }
        return interleaved(sides, self._rounds or ROUNDS, CALLS_SECONDS)

    def _create(self, wish: dict[str, Any], maker: Client, asker: Client) -> Side:
        made = [f"made{number}" for number in range(20)]
        while True:
            took = timed(lambda: [_make(maker, name, wish) for name in made])
            for name in made:
                maker.call("DELETE", f"/volumes/{name}")
            yield took / len(made) * 1000

    def _inspect(self, wish: dict[str, Any], maker: Client, asker: Client) -> Side:
        with _volumes(maker, asker, wish, 1):
            while True:
                yield timed(lambda: [asker.call("GET", "/volumes/many0") for _ in range(300)]) / 300 * 1000

    def _list(self, wish: dict[str, Any], maker: Client, asker: Client) -> Side:
        with _volumes(maker, asker, wish, self._material.count(VOLUMES)):
            while True:
                yield timed(lambda: [asker.call("GET", "/volumes") for _ in range(10)]) / 10 * 1000

    def _several(self, measure: Callable[[], float], rounds: int) -> list[float]:
        with within(CALLS_SECONDS, "it"):
            return [measure() for _ in range(self._rounds or rounds)]

    def _news(self) -> float:
        """From the beginning of the call."""
        a, b = self._ships.clients["a"], self._ships.clients["b"]
        begin = time.perf_counter()
        _make(a, "news", {"Driver": "juicefs", "DriverOpts": _ELSEWHERE})
        while not b.call("GET", "/volumes")["Volumes"]:
            pass  # each asks anew, and a moment is what is to be measured
        took = time.perf_counter() - begin
        a.call("DELETE", "/volumes/news")
        _wait_for_list(b, 0)
        return took * 1000

    # Who writes

    def _changes(self, name: str) -> list[float]:
        """The writer is on a; from the moment that it is to end until a container on b has written."""
        ships, taken = self._ships, []
        ends: dict[str, Callable[[], object]] = {
            STOPPED: partial(ships.a.docker, "rm", "-f", "writer"),
            KILLED: ships.a.power_off,
        }
        for _ in range(self._rounds or CHANGES):
            with within(CHANGE_SECONDS, "it"), self._writer() as volume:
                begin = time.monotonic()
                ends.get(name, partial(ships.b.orlop, "volume", "takeover", volume))()
                mount = f"type=volume,src={volume},dst=/d,volume-opt=wait=30s"
                ships.b.docker("run", "--rm", "--mount", mount, "busybox", *_WRITE)
                taken.append(time.monotonic() - begin)
        return taken

    @contextmanager
    def _writer(self) -> Iterator[str]:
        """A container on a that has written to a volume of the SAN; its name."""
        hosts, a, b = self._ships.hosts, self._ships.a, self._ships.b
        number = next(self._devices)
        hosts.san.lun(number)
        options = [word for key, value in hosts.san.options(number).items() for word in ("-o", f"{key}={value}")]
        volume = f"device{number}"
        a.docker("volume", "create", "-d", "san", *options, volume)
        wait_for("the news", lambda: volume in b.docker("volume", "ls", "-q").stdout.split())
        a.docker("run", "-d", "--name", "writer", "-v", f"{volume}:/d", "busybox", "sleep", "9999")
        a.docker("exec", "writer", *_WRITE)
        try:
            yield volume
        finally:
            for host in (a, b):
                host.revive()

    # etcd

    def _requests(self, is_writing: bool) -> float:
        """Of one host in a minute. While one writes the other does nothing, and is taken off."""
        if not is_writing:
            return self._counted() / 2
        idle = self._counted() / 2
        with self._writer():
            return self._counted() - idle

    def _counted(self) -> float:
        """As etcd itself counts them."""
        wait_for("quiet", self._is_quiet, 30)
        seconds = max(10.0, WATCHED_SECONDS * self._material.scale)
        before, begin = self._asked_so_far(), time.monotonic()
        time.sleep(seconds)
        return (self._asked_so_far() - before) * 60 / (time.monotonic() - begin)

    def _is_quiet(self) -> bool:
        """What came before is over: nothing but who is alive is asked for a second."""
        before = self._asked_so_far()
        time.sleep(1)
        return self._asked_so_far() - before <= 4

    def _asked_so_far(self) -> int:
        """A call of the gateway is one call of etcd's own protocol."""
        hosts = self._ships.hosts
        asking = "import sys, urllib.request as u; [print(u.urlopen(each).read().decode()) for each in sys.argv[1:]]"
        pages = [f"http://{endpoint}/metrics" for endpoint in hosts.etcd.endpoints]
        said = run_command([*hosts.network.prefix(MEMBERS[0]), "python3", "-c", asking, *pages]).stdout
        return int(sum(map(float, re.findall(r'^grpc_server_started_total\{.*"etcdserverpb\..*\} (\S+)$', said, re.M))))


def _make(client: Client, name: str, wish: dict[str, Any]) -> Any:
    return client.call("POST", "/volumes/create", {"Name": name, **wish})


def _wait_for_list(client: Client, length: int) -> None:
    wait_for("the news", lambda: len(client.call("GET", "/volumes")["Volumes"] or ()) == length)


@contextmanager
def _volumes(maker: Client, asker: Client, wish: dict[str, Any], number: int) -> Iterator[None]:
    made = [f"many{each}" for each in range(number)]
    for name in made:
        _make(maker, name, wish)
    _wait_for_list(asker, number)
    try:
        yield
    finally:
        for name in made:
            maker.call("DELETE", f"/volumes/{name}")
        _wait_for_list(asker, 0)
