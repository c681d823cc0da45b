"""A database on a volume that one host at a time writes: its host is killed, and the other one goes on with every row
that was committed."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.daemon import wait_for
from support.etcd_members import needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san
from support.postgres_work import PLACE, CommitRecorder, load_postgres, query, start_database

pytestmark = [needs_etcd, needs_san, pytest.mark.slow]

LEASE_SECONDS = 6
WAITING = f"type=volume,src=pg,dst={PLACE},volume-opt=wait=60s"


@pytest.fixture
def pair(hosts: Hosts) -> Iterator[tuple[Host, Host]]:
    """Both know the volume `pg`."""
    a, b = (hosts.add(name, "--cluster-lease", f"{LEASE_SECONDS}s") for name in ("a", "b"))
    for host in (a, b):
        host.start()
    hosts.san.lun(1, 1 << 30)
    options = [word for key, value in hosts.san.options().items() for word in ("-o", f"{key}={value}")]
    a.docker("volume", "create", "-d", "san", *options, "pg")
    wait_for("the news", lambda: "pg" in b.docker("volume", "ls", "-q").stdout.split())
    yield a, b
    for host in (a, b):
        host.revive()


@pytest.fixture
def image(pair: tuple[Host, Host]) -> str:
    with ThreadPoolExecutor() as both:
        first, second = both.map(load_postgres, pair)
    assert first == second
    return first


def test_postgresql_fails_over_from_a_killed_host_with_every_committed_row(
    pair: tuple[Host, Host],
    image: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    rounds, commits = (10, 3000) if request.config.getoption("--long") else (1, 300)
    host, other = pair
    start_database(host, image, "db")
    query(host, "db", "CREATE TABLE kept (id serial PRIMARY KEY, at timestamptz DEFAULT now())")
    committed: set[int] = set()
    for _ in range(rounds):
        recorder = CommitRecorder(host, "db")
        wait_for("some load", lambda: len(recorder.committed) > commits, 120)  # noqa: B023
        host.power_off()
        killed_at = time.monotonic()
        recorder.join()
        committed |= set(recorder.committed)
        start_database(other, image, "db", WAITING)
        mine = int(query(other, "db", "INSERT INTO kept DEFAULT VALUES RETURNING id"))
        took = time.monotonic() - killed_at
        told = f"{took:.1f} s after its host was killed, with a lease of {LEASE_SECONDS} s"
        record_property("PostgreSQL commits again", told)
        found = set(map(int, query(other, "db", "SELECT id FROM kept").split()))
        assert committed | {mine} <= found
        logs = other.docker("logs", "db")
        assert "automatic recovery in progress" in logs.stdout + logs.stderr, "it was killed in the middle of its work"
        host.power_on()
        host.start()
        host.docker("rm", "-f", "db")
        host, other = other, host
