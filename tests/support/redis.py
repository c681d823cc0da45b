"""Debian's Redis on a free port of loopback, with a password, for as long as a test needs it."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.daemon import wait_for
from support.ports import free_port

PASSWORD = "planted-password-of-redis"


@dataclass
class Redis:
    port: int
    process: "subprocess.Popen[bytes]"

    def url(self, database: int) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def redis(folder: Path, password: str = PASSWORD) -> Iterator[Redis]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: script/setup")
    folder.mkdir(parents=True)
    port = free_port()
    # The password by standard input: not an argument that a test for it would find.
    settings = f"port {port}\nbind 127.0.0.1\nrequirepass \"{password}\"\nsave ''\nappendonly no\ndatabases 200\n"
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen([program, "-"], cwd=folder, stdin=subprocess.PIPE, stdout=said, stderr=said)
    assert process.stdin is not None
    process.stdin.write(settings.encode())
    process.stdin.close()
    found = Redis(port, process)
    try:
        wait_for("Redis", lambda: _answers(found), 20)
        yield found
    finally:
        found.go_on()
        process.kill()
        process.wait()


def _answers(found: Redis) -> bool:
    assert found.process.poll() is None, "Redis ended at once"
    try:
        with socket.create_connection(("127.0.0.1", found.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
