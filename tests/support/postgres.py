"""Debian's PostgreSQL on a free port of loopback, with a password, for as long as a test needs it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.daemon import wait_for
from support.ports import free_port

USER, PASSWORD = "trees", "planted/password+of=postgres"


@dataclass
class Postgres:
    """It runs as somebody who is not root, as it insists."""

    programs: Path
    data: Path
    port: int
    process: "subprocess.Popen[bytes]"

    def url(self, database: str) -> str:
        return f"postgres://{USER}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def make_database(self, name: str) -> None:
        self._sql("postgres", f'CREATE DATABASE "{name}"')

    def _sql(self, database: str, sql: str, check: bool = True) -> int:
        words = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database, "-qAtX", "-c", sql]
        variables = {**os.environ, "PGPASSWORD": PASSWORD}
        done = subprocess.run([self.programs / "psql", *words], env=variables, capture_output=True, check=False)
        assert not check or not done.returncode, done.stderr
        return done.returncode

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.data.parent / "log").read_text(errors="replace")[-2000:]
        return self._sql("postgres", "SELECT 1", check=False) == 0


@contextmanager
def postgres() -> Iterator[Postgres]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("postgresql is not installed: script/setup")
    programs = found[-1].parent
    somebody = pwd.getpwnam("postgres" if _is_user("postgres") else "nobody")
    # Not among pytest's folders, which are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="orlop-postgres-", dir=os.environ.get("ORLOP_TEST_ROOT", "/tmp")))
    try:
        shutil.chown(folder, somebody.pw_uid)
        with _server(folder, programs, somebody) as server:
            yield server
    finally:
        shutil.rmtree(folder)


def _is_user(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())


@contextmanager
def _server(folder: Path, programs: Path, somebody: pwd.struct_passwd) -> Iterator[Postgres]:
    (folder / "word").write_text(PASSWORD)
    (folder / "word").chmod(0o644)
    data, port = folder / "data", free_port()
    who = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": [], "cwd": folder}
    places = ["-D", str(data), "-U", USER, "--pwfile", str(folder / "word"), "-A", "scram-sha-256", "-N"]
    subprocess.run([programs / "initdb", *places], check=True, capture_output=True, timeout=60, **who)  # type: ignore[call-overload]
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    with (folder / "log").open("wb") as said:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [programs / "postgres", "-D", data, *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            **who,
        )
    server = Postgres(programs, data, port, process)
    try:
        wait_for("PostgreSQL", server.answers, 30)
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
