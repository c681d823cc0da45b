"""Debian's Redis on a free port, with a password, for as long as a test needs it: on loopback, or in a namespace of its
own."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
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
    address: str

    def url(self, database: int) -> str:
        return f"redis://{self.address}:{self.port}/{database}"

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def redis(
    folder: Path, password: str = PASSWORD, address: str = "127.0.0.1", prefix: Sequence[str] = ()
) -> Iterator[Redis]:
    """`prefix` stands in front of its command: in which namespace it runs."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: script/setup")
    folder.mkdir(parents=True)
    port = free_port()
    # The password by standard input: not an argument that a test for it would find.
    settings = f"port {port}\nbind {address}\nrequirepass \"{password}\"\nsave ''\nappendonly no\ndatabases 200\n"
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen([*prefix, program, "-"], cwd=folder, stdin=subprocess.PIPE, stdout=said, stderr=said)
    assert process.stdin is not None
    process.stdin.write(settings.encode())
    process.stdin.close()
    found = Redis(port, process, address)
    try:
        wait_for("Redis", lambda: _answers(found, prefix), 20)
        yield found
    finally:
        found.go_on()
        process.kill()
        process.wait()


def _answers(found: Redis, prefix: Sequence[str]) -> bool:
    assert found.process.poll() is None, "Redis ended at once"
    asked = [*prefix, "redis-cli", "-h", found.address, "-p", str(found.port), "ping"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return "PONG" in said or "NOAUTH" in said
