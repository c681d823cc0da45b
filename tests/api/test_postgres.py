"""A database on a volume: loaded with work, killed, its container removed, the daemon killed. Every row that the server
said was committed is there when a new container opens the same volume."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, wait_for
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san
from support.postgres_work import CommitRecorder, load_postgres, query, start_database


@pytest.fixture(scope="module")
def postgres(module_daemon: LiveDaemon) -> Iterator[str]:
    image = load_postgres(module_daemon)
    yield image
    module_daemon.docker("rmi", "-f", image)


@pytest.fixture
def san(tmp_path: Path) -> Iterator[IscsiTarget]:
    with iscsi_target(tmp_path) as target:
        yield target


def sums_of_pgbench(daemon: LiveDaemon, container: str) -> list[str]:
    """Every transaction adds one number to each of the four."""
    sql = (
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), "
        "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)"
    )
    return query(daemon, container, sql).split("|")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["", "2g"])
def test_every_committed_row_survives_the_container_and_the_daemon(
    daemon: LiveDaemon, postgres: str, load_seconds: int, size: str
) -> None:
    """With a limit the volume is a file system of its own, and grows under the load."""
    if size:
        daemon.docker("volume", "create", "--opt", f"size={size}", "pg")
    image = daemon.inspect("image", postgres)
    assert image["Config"]["User"] == "postgres"
    assert json.dumps(image["Config"]["Volumes"]) == '{"/var/lib/postgresql": {}}'
    start_database(daemon, postgres, "first")
    data = daemon.volume_data("pg")
    assert (data.stat().st_uid, data.stat().st_gid) != (0, 0), "copied with its owner"
    assert daemon.docker("exec", "first", "id", "-un").stdout.strip() == "postgres"

    daemon.docker("exec", "first", "pgbench", "-q", "-i", "-s", "10", timeout=300)
    query(daemon, "first", "CREATE TABLE kept (id serial PRIMARY KEY, at timestamptz DEFAULT now())")
    daemon.docker("exec", "-d", "first", "pgbench", "-c", "4", "-T", "3600")
    recorder = CommitRecorder(daemon, "first")
    begin = time.monotonic()
    if size:
        daemon.orlop("volume", "update", "--size", "3g", "pg")
    is_enough = lambda: time.monotonic() - begin > load_seconds and len(recorder.committed) > 10 * load_seconds  # noqa: E731
    wait_for("some load", is_enough, load_seconds + 60)
    daemon.docker("kill", "first")
    recorder.join()
    daemon.docker("rm", "first")
    daemon.kill()
    daemon.start()

    start_database(daemon, postgres, "second")
    logs = daemon.docker("logs", "second")
    assert "automatic recovery in progress" in logs.stdout + logs.stderr
    found = set(map(int, query(daemon, "second", "SELECT id FROM kept").split()))
    assert set(recorder.committed) <= found
    sums = sums_of_pgbench(daemon, "second")
    assert len(set(sums)) == 1, f"the books of pgbench do not balance: {sums}"
    assert int(query(daemon, "second", "SELECT count(*) FROM pgbench_history")) > 10 * load_seconds
    assert int(query(daemon, "second", "SELECT count(*) FROM pgbench_accounts")) == 1_000_000
    daemon.docker("stop", "-t", "30", "second")
    assert daemon.inspect("container", "second")["State"]["ExitCode"] == 0


@needs_san
@pytest.mark.slow
def test_every_committed_row_survives_on_a_san(
    san: IscsiTarget, daemon: LiveDaemon, postgres: str, load_seconds: int
) -> None:
    """The daemon is killed, the storage cut off and brought back, and at last the program between them killed."""
    san.lun(1, 1 << 30)
    options = [part for key, value in san.options(1).items() for part in ("-o", f"{key}={value}")]
    daemon.docker("volume", "create", "-d", "san", *options, "pg")
    start_database(daemon, postgres, "first")
    daemon.docker("exec", "first", "pgbench", "-q", "-i", "-s", "3", timeout=300)
    query(daemon, "first", "CREATE TABLE kept (id serial PRIMARY KEY, at timestamptz DEFAULT now())")
    daemon.docker("exec", "-d", "first", "pgbench", "-c", "2", "-T", "3600")
    before = CommitRecorder(daemon, "first")
    wait_for("some load", lambda: len(before.committed) > 10 * load_seconds, load_seconds + 60)
    daemon.kill()
    before.join()
    daemon.start()

    during = CommitRecorder(daemon, "first")
    wait_for("some load", lambda: len(during.committed) > 5 * load_seconds, load_seconds + 60)
    san.stop()
    known = len(during.committed)
    with pytest.raises(AssertionError):
        wait_for("a commit that cannot be", lambda: len(during.committed) > known + 3, 3)
    san.start()
    wait_for("it to go on", lambda: len(during.committed) > known + 5 * load_seconds, load_seconds + 60)
    (record,) = (daemon.exec_root / "programs/san/programs").glob("*/program.json")
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    daemon.docker("kill", "first", code=None)
    during.join()
    daemon.docker("rm", "-f", "first")

    start_database(daemon, postgres, "second")
    found = set(map(int, query(daemon, "second", "SELECT id FROM kept").split()))
    assert set(before.committed) <= found
    assert set(during.committed) <= found
    assert len(set(sums_of_pgbench(daemon, "second"))) == 1, "the books of pgbench do not balance"
    daemon.docker("rm", "-f", "second")
    daemon.docker("volume", "rm", "pg")
