"""Fifty clients and twenty names: volumes are created, mounted, copied into, renamed, changed, removed, pruned and
brought back at once. Nobody gets an error that the names do not explain; at the end nothing is left over or missing.

`--long` goes on for a minute.
"""

import io
import json
import os
import random
import socket
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon, wait_for

CLIENTS, NAMES = 50, [f"name{number:02d}" for number in range(20)]
BASE = "/orlop/v1/volumes"

# What a client must expect where others use the same names: in use, gone, there already, and who prunes prunes alone.
ALLOWED = {
    "create volume": {201},
    "inspect volume": {200, 404},
    "list volumes": {200},
    "remove volume": {204, 404, 409},
    "prune": {200, 409},
    "update volume": {200, 404},
    "rename volume": {200, 400, 404, 409},  # 400: by an alias, to the name that it has
    "restore volume": {200, 404, 409},
    "read volume": {200, 404},
    "create container": {201},
    "start container": {204},
    "copy in": {200},
    "copy out": {200},
    "remove container": {204},
    "usage": {200},
    "preview": {200},
}


class Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("orlop", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


@dataclass
class Crowd:
    socket: Path
    until: float
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    dies: bool = False  # the daemon does, at some moment: clients are cut off then

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, number: int) -> None:
        client = Client(self, number)
        try:
            while time.monotonic() < self.until or self._misses_a_kind():
                client.step()
        except Exception as error:  # noqa: BLE001 - told by the test, with all others
            if self.dies and isinstance(error, OSError | HTTPException):
                return
            with self.lock:
                self.complaints.append(f"client {number}: {error!r}")
        finally:
            client.connection.close()

    def _misses_a_kind(self) -> bool:
        """Where a loaded machine has answered few calls yet."""
        with self.lock:
            return not self.dies and not self.complaints and {what for what, _ in self.answers} < set(ALLOWED)

    def note(self, what: str, status: int, text: bytes) -> None:
        with self.lock:
            self.answers[what, status] += 1
            if status not in ALLOWED[what]:
                self.complaints.append(f"{what}: {status} {text.decode(errors='replace')[:300]}")


class Client:
    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.random = random.Random(number)
        self.connection = Connection(crowd.socket)
        self.acts: list[tuple[int, Callable[[str], object]]] = [
            (6, self.create),
            (3, lambda name: self.call("inspect volume", "GET", f"/volumes/{name}")),
            (1, lambda name: self.call("list volumes", "GET", "/volumes")),
            (5, lambda name: self.call("remove volume", "DELETE", f"/volumes/{name}")),
            (1, lambda name: self.call("prune", "POST", '/volumes/prune?filters={"all":["1"]}')),
            (2, self.update),
            (2, self.rename),
            (3, lambda name: self.call("restore volume", "POST", f"{BASE}/retired/{name}/restore")),
            (2, lambda name: self.call("read volume", "GET", f"{BASE}/{name}/archive?path=/")),
            (1, lambda name: self.call("usage", "GET", "/system/df")),
            (1, lambda name: self.call("preview", "POST", f"{BASE}/preview", {"Prune": {}, "All": True})),
            (4, lambda name: self.container(name, start=False)),
            (2, lambda name: self.container(name, start=True)),
        ]

    def step(self) -> None:
        weights = [weight for weight, _ in self.acts]
        (_, act) = self.random.choices(self.acts, weights)[0]
        act(self.random.choice(NAMES))

    def call(self, what: str, method: str, path: str, body: object = None, raw: bytes = b"") -> Any:
        data = raw or (json.dumps(body).encode() if body is not None else b"")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        prefix = "" if path.startswith("/orlop") else "/v1.47"
        self.connection.request(method, prefix + path.replace('"', "%22"), data, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        self.crowd.note(what, answer.status, text)
        return json.loads(text) if answer.status < 300 and text[:1] == b"{" else None

    def create(self, name: str) -> None:
        self.call(
            "create volume", "POST", "/volumes/create", {"Name": name, "Labels": {"by": str(self.random.random())}}
        )

    def update(self, name: str) -> None:
        self.call("update volume", "PUT", f"/volumes/{name}", {"Labels": {"updated": str(self.random.random())}})

    def rename(self, name: str) -> None:
        new = self.random.choice([other for other in NAMES if other != name])
        wish = {"Name": new, "Alias": self.random.random() < 0.3}
        self.call("rename volume", "POST", f"{BASE}/{name}/rename", wish)

    def container(self, name: str, start: bool) -> None:
        """With two volumes and an anonymous one; nobody else knows it, so all that is done with it must succeed."""
        other = self.random.choice(NAMES)
        binds = [f"{name}:/a"] + ([f"{other}:/b"] if other != name else [])
        host = {"Binds": binds, "NetworkMode": "none"}
        wish = {"Image": "busybox", "Cmd": ["true"], "Volumes": {"/c": {}}, "HostConfig": host}
        made = self.call("create container", "POST", "/containers/create", wish)
        if made is None:
            return
        where = f"/containers/{made['Id']}"
        if start:
            self.call("start container", "POST", f"{where}/start")
        if self.random.random() < 0.5:
            self.call("copy in", "PUT", f"{where}/archive?path=/a", raw=tar_of(f"f{self.random.randrange(9)}"))
        if self.random.random() < 0.5:
            self.call("copy out", "GET", f"{where}/archive?path=/a")
        self.call("remove container", "DELETE", f"{where}?v=1&force=1")


def tar_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 5
        archive.addfile(member, io.BytesIO(b"bytes"))
    return buffer.getvalue()


def resident_kib(daemon: LiveDaemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@pytest.mark.slow
def test_fifty_clients_at_the_same_twenty_names(make_daemon: DaemonMaker, request: pytest.FixtureRequest) -> None:
    daemon = make_daemon()
    daemon.docker("run", "--rm", "-v", "name00:/d", "--network", "none", "busybox", "true")  # everything is loaded
    memory, descriptors = resident_kib(daemon), len(os.listdir(f"/proc/{daemon.pid}/fd"))
    crowd = Crowd(daemon.socket, time.monotonic() + (60 if request.config.getoption("--long") else 6))
    crowd.run()
    told = "\n".join(sorted({complaint[:400] for complaint in crowd.complaints})[:20])
    assert not crowd.complaints, f"{len(crowd.complaints)} of {crowd.answers.total()}:\n{told}\n{daemon.logs()[-2000:]}"
    assert {what for what, _ in crowd.answers} == set(ALLOWED), "a kind of call was never made"
    wait_for("the house to be in order", lambda: not disorder(daemon), 10)
    assert daemon.docker("ps", "-aq").stdout == ""
    assert daemon.docker("volume", "ls", "-q", "-f", "dangling=false").stdout == ""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(daemon.home) in line]
    assert mounts == []
    wait_for("descriptors to be closed", lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= descriptors + 10)
    assert resident_kib(daemon) < memory + 100_000
    before = sorted(daemon.docker("volume", "ls", "-q").stdout.split())
    daemon.restart()
    wait_for("the house to be in order", lambda: not disorder(daemon), 10)
    assert sorted(daemon.docker("volume", "ls", "-q").stdout.split()) == before, "memory said what the disk says"


def test_the_daemon_dies_among_fifty_clients_and_everything_is_as_before_or_as_wished(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon()
    source = random.Random(2026)
    daemon.docker("run", "-d", "--name", "bystander", "-v", "precious:/d", "busybox", "sleep", "10000")
    (daemon.volume_data("precious") / "note").write_text("kept")
    for _ in range(4):
        crowd = Crowd(daemon.socket, time.monotonic() + 20, dies=True)
        clients = threading.Thread(target=crowd.run)
        clients.start()
        time.sleep(source.uniform(0.3, 1.5))  # not waiting for anything: dying at some moment is the test
        daemon.kill()
        clients.join()
        assert not crowd.complaints, crowd.complaints[:5]
        daemon.start()
        wait_for("the daemon to have recovered", lambda: daemon.docker("ps", code=None).returncode == 0)
        wait_for("the house to be in order", lambda: not disorder(daemon), 20)
        assert daemon.inspect("container", "bystander")["State"]["Running"]
        assert (daemon.volume_data("precious") / "note").read_text() == "kept"
