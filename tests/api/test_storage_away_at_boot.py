"""A NAS that is away when the host boots makes the containers that need it wait, by whatever driver, and never start on
an empty directory."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from orlop.kernel.mounts import MNT_DETACH, unmount
from support import nas
from support.daemon import LiveDaemon, wait_for
from support.redis import PASSWORD, redis


@dataclass
class Away:
    """Storage that can be away. `options` of the driver, the value of its secret, and what is said when it is away."""

    driver: str
    options: dict[str, str]
    secret: str
    leave: Callable[[], None]
    come_back: Callable[[], None]
    said: str


@pytest.fixture(params=["nas", "juicefs"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Away]:
    with ExitStack() as stack:
        if request.param == "nas":
            found = stack.enter_context(nas.samba(tmp_path))
            assert found.server
            leave, back = found.server.stop, found.server.start
            yield Away("nas", found.options, found.secrets["nas"], leave, back, "cannot be reached")
            return
        meta = stack.enter_context(redis(tmp_path / "redis"))
        options = {
            "meta": meta.url(1),
            "meta-password": "secret://nas",
            "name": "tree",
            "bucket": str(tmp_path / "data"),
        }
        yield Away("juicefs", options, PASSWORD, meta.pause, meta.go_on, "gave no answer")


def test_its_container_waits_for_it_and_starts_on_its_data(daemon: LiveDaemon, storage: Away) -> None:
    daemon.orlop("secret", "create", "--force", "nas", stdin=storage.secret)
    words = [word for key, value in storage.options.items() for word in ("-o", f"{key}={value}")]
    daemon.docker("volume", "create", "-d", storage.driver, *words, "team")
    script = "cat /t/log; echo started >> /t/log; sync /t/log; exec sleep 1000"
    daemon.docker("run", "-d", "--name", "app", "--restart", "always", "-v", "team:/t", "busybox", "sh", "-c", script)
    wait_for("it to have written", lambda: daemon.docker("exec", "app", "cat", "/t/log", code=None).stdout)
    power_cut(daemon, storage)
    daemon.start()
    wait_for("it to wait", lambda: storage.said in daemon.inspect("container", "app")["State"]["Error"], 60)
    assert daemon.inspect("container", "app")["State"]["Status"] == "restarting"
    assert not any((daemon.data_root / "drivers" / storage.driver / "team/_data").iterdir())
    storage.come_back()
    wait_for("it to run", lambda: daemon.inspect("container", "app")["State"]["Status"] == "running", 60)
    wait_for("it to have read", lambda: daemon.docker("logs", "app").stdout == "started\n")
    daemon.docker("rm", "-f", "app")


def power_cut(daemon: LiveDaemon, storage: Away) -> None:
    place = daemon.data_root / "drivers" / storage.driver / "team/_data"
    pid = daemon.inspect("container", "app")["State"]["Pid"]
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    for record in daemon.exec_root.glob(f"programs/{storage.driver}/*/program.json"):
        os.kill(int(json.loads(record.read_text())["pid"]), signal.SIGKILL)
    unmount(place, MNT_DETACH)
    storage.leave()
