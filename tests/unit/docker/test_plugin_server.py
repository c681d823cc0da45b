"""The volume plugin protocol as it is served: whatever comes, the answer is one that both engines understand."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.docker.plugin_server import CALLS, MAX_REQUEST_BYTES, PluginServer
from support.daemon import wait_for
from support.lending_house import LendingHouse


class Plugin:
    """A server in a thread of its own."""

    def __init__(self, path: Path, house: LendingHouse) -> None:
        self.path, self.house = path, house
        self.server = PluginServer(str(path))
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))

    def __enter__(self) -> "Plugin":
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self.server.serve(self._stop, self._listening.set)

    def provide(self) -> None:
        self.server.provide(self.house.lending)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def send(self, method: str, body: bytes, path: str = "") -> socket.socket:
        connection = self.connect()
        length = f"Content-Length: {len(body)}\r\n"
        connection.sendall(f"POST {path or '/VolumeDriver.' + method} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode())
        connection.sendall(body)
        return connection

    def call(self, method: str, body: Any = None, path: str = "") -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        with self.send(method, raw, path) as connection:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, json.loads(answer.read())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LendingHouse]:
    house = LendingHouse(tmp_path)
    yield house
    house.stop()


@pytest.fixture
def plugin(tmp_path: Path, house: LendingHouse) -> Iterator[Plugin]:
    with Plugin(tmp_path / "s", house) as plugin:
        plugin.provide()
        yield plugin


def test_every_call_is_answered_as_docker_spells_it(plugin: Plugin) -> None:
    assert plugin.call("", b"", "/Plugin.Activate") == (200, {"Implements": ["VolumeDriver"]})
    assert plugin.call("Capabilities") == (200, {"Capabilities": {"Scope": "local"}})
    assert plugin.call("Get", {"Name": "data"}) == (200, {"Volume": None, "Err": ""})
    assert plugin.call("Create", {"Name": "data", "Opts": None}) == (200, {"Err": ""})
    status, answer = plugin.call("Get", {"Name": "data"})
    mountpoint, created = answer["Volume"]["Mountpoint"], answer["Volume"].pop("CreatedAt")
    state = {"Driver": "local", "Health": "ok", "Mounts": 0}
    assert answer == {"Volume": {"Name": "data", "Mountpoint": mountpoint, "Status": state}, "Err": ""}
    assert created.startswith("20") and "T" in created
    assert plugin.call("Mount", {"Name": "data", "ID": "c1"}) == (200, {"Mountpoint": mountpoint, "Err": ""})
    assert plugin.call("Path", {"Name": "data"}) == (200, {"Mountpoint": mountpoint, "Err": ""})
    assert plugin.call("List")[1]["Volumes"][0]["Status"]["Mounts"] == 1
    assert plugin.call("Unmount", {"Name": "data", "ID": "c1"}) == (200, {"Err": ""})
    assert plugin.call("Remove", {"Name": "data"}) == (200, {"Err": ""})
    assert plugin.call("List") == (200, {"Volumes": [], "Err": ""})
    assert status == 200


@pytest.mark.parametrize("method", [name for name in CALLS if name.startswith("/VolumeDriver.") and "List" not in name])
def test_a_call_that_lost_its_body_changes_nothing(plugin: Plugin, method: str) -> None:
    """Docker sends it so when it repeats a call."""
    plugin.call("Create", {"Name": "data"})
    status, answer = plugin.call("", b"", method)
    assert status == 200 if "Capabilities" in method else (status == 400 and answer["Err"])
    assert [volume["Name"] for volume in plugin.call("List")[1]["Volumes"]] == ["data"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "no JSON object"),
        (b'{"Name": "data"', "invalid JSON"),
        (b'{"Name": "data"} {}', "unexpected content"),
        (b'{"Name": 7}', "invalid JSON"),
        (b'{"Name": "data", "Opts": {"size": 7}}', "invalid JSON"),
        (b'{"Name": "data", "Opts": ["size"]}', "invalid JSON"),
        (b'{"Name": "../data"}', "create ../data"),
        (b'{"Name": "data", "Opts": {"sze": "1g"}}', 'invalid option: "sze"'),
        (b'{"Name": "\xff"}', "invalid JSON"),
        (b"{" * 100_000, "invalid JSON"),
    ],
)
def test_what_makes_no_sense_is_told_and_changes_nothing(plugin: Plugin, body: bytes, said: str) -> None:
    status, answer = plugin.call("Create", body)
    assert status == 400 and said in answer["Err"]
    assert plugin.call("List")[1]["Volumes"] == []


def test_a_body_has_an_end(plugin: Plugin) -> None:
    status, answer = plugin.call("Create", b" " * (MAX_REQUEST_BYTES + 1))
    assert status == 413 and "larger than" in answer["Err"]


def test_calls_that_there_are_not_are_named(plugin: Plugin) -> None:
    assert plugin.call("", b"{}", "/VolumeDriver.Format")[0] == 404
    assert plugin.call("", b"{}", "/NetworkDriver.Join")[0] == 404
    with plugin.connect() as connection:
        connection.sendall(b"GET /VolumeDriver.List HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 404")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(CALLS)), st.one_of(st.binary(max_size=200), st.text(max_size=40).map(json.dumps)))
def test_any_body_is_answered(plugin: Plugin, path: str, body: bytes | str) -> None:
    status, answer = plugin.call("", body.encode() if isinstance(body, str) else body, path)
    assert status in (200, 400) and isinstance(answer, dict)
    assert (status == 200) is not bool(answer.get("Err"))


_VALUES = st.one_of(st.none(), st.text(max_size=20), st.integers(), st.dictionaries(st.text(max_size=5), st.text()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(CALLS)), st.dictionaries(st.sampled_from(["Name", "ID", "Opts", "name", "x"]), _VALUES))
def test_any_object_is_answered(plugin: Plugin, path: str, body: dict[str, Any]) -> None:
    status, answer = plugin.call("", json.dumps(body).encode(), path)
    assert status in (200, 400, 500)
    assert (status == 200) is not bool(answer.get("Err"))
    assert "internal error" not in answer.get("Err", "")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_leave_it_answering(plugin: Plugin, sent: bytes) -> None:
    with plugin.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert plugin.call("List")[0] == 200


def test_nothing_is_said_of_volumes_before_they_are_known(tmp_path: Path, house: LendingHouse) -> None:
    house.lending.create("data", {})
    with Plugin(tmp_path / "s", house) as plugin:
        assert plugin.call("", b"", "/Plugin.Activate")[0] == 200
        with plugin.send("Get", b'{"Name": "data"}') as waiting:
            waiting.settimeout(0.1)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            plugin.provide()
            waiting.settimeout(20)
            assert b'"Name":"data"' in waiting.recv(4096)


def test_who_gives_up_waiting_finds_the_mount_ready(plugin: Plugin, house: LendingHouse) -> None:
    plugin.call("Create", {"Name": "data"})
    house.driver.slow = {"data"}
    with plugin.send("Mount", b'{"Name": "data", "ID": "c1"}'):
        assert house.driver.asked.acquire(timeout=10)
        assert plugin.call("Get", {"Name": "data"})[0] == 200, "who only looks does not wait"
    house.driver.gate.set()
    wait_for("the late mount", lambda: any(use.doubtful for use in house.uses.all()))
    assert plugin.call("Mount", {"Name": "data", "ID": "c1"})[0] == 200
    assert house.count("data", "c1") == 2
    plugin.call("Unmount", {"Name": "data", "ID": "c1"})
    assert house.driver.users("data") == 0, "nobody else is to come"


def test_forty_slow_mounts_do_not_keep_another_waiting(plugin: Plugin, house: LendingHouse) -> None:
    names = [f"slow{number}" for number in range(40)]
    for name in [*names, "quick"]:
        plugin.call("Create", {"Name": name})
    house.driver.slow = {*names}
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(plugin.send("Mount", json.dumps({"Name": name, "ID": "c1"}).encode()))
        assert plugin.call("Mount", {"Name": "quick", "ID": "c1"})[0] == 200
        house.driver.gate.set()
        wait_for("all mounts", lambda: len(house.uses.all()) == 41)


class Kept:
    """One connection, on which a call is one piece, as clients of plugins send it: answered at once where that can be.
    `waited_for` sends the body after its head, which never is."""

    def __init__(self, plugin: Plugin) -> None:
        self.connection = plugin.connect()

    def call(self, method: str, body: bytes, waited_for: bool = False) -> tuple[int, bytes]:
        head = f"POST /VolumeDriver.{method} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        if waited_for:
            self.connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert self.connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            self.connection.sendall(body)
        else:
            self.connection.sendall(f"{head}\r\n".encode() + body)
        answer = http.client.HTTPResponse(self.connection)
        answer.begin()
        return answer.status, answer.read()

    def agreed(self, method: str, body: bytes) -> Any:
        """The same by both ways, and when asked again."""
        answers = [self.call(method, body, waited_for) for waited_for in (False, True, False, False)]
        assert answers == answers[:1] * 4
        return json.loads(answers[0][1])


def test_what_is_answered_at_once_is_never_what_was_true_before(plugin: Plugin) -> None:
    house, kept, one = plugin.house, Kept(plugin), b'{"Name": "one"}'

    def told() -> Any:
        volume = kept.agreed("Get", one)["Volume"]
        listed = [each for each in kept.agreed("List", b"{}")["Volumes"] if each["Name"] == "one"]
        assert listed == ([volume] if volume else [])
        return volume and volume["Status"]

    assert told() is None
    plugin.call("Create", {"Name": "one"})
    plugin.call("Create", {"Name": "two"})
    assert told() == {"Driver": "local", "Health": "ok", "Mounts": 0}
    plugin.call("Mount", {"Name": "one", "ID": "c1"})
    assert told()["Mounts"] == 1
    plugin.call("Mount", {"Name": "one", "ID": "c1"})
    plugin.call("Mount", {"Name": "one", "ID": "c2"})
    assert told()["Mounts"] == 3
    house.volumes._records.mark("one", "hanging: it gives no answer")
    assert told()["Health"] == "hanging: it gives no answer"
    house.volumes._records.mark("one", "")
    for use_id in ("c1", "c2", "c1"):
        plugin.call("Unmount", {"Name": "one", "ID": use_id})
    assert told() == {"Driver": "local", "Health": "ok", "Mounts": 0}
    plugin.call("Remove", {"Name": "one"})
    assert told() is None
    plugin.call("Create", {"Name": "one", "Opts": {"restore": "one"}})
    assert told()["Mounts"] == 0


def test_get_and_list_are_kept_until_something_changes_and_no_longer(plugin: Plugin) -> None:
    kept, looked = Kept(plugin), []
    plugin.call("Create", {"Name": "one"})
    find, list_volumes = plugin.house.lending.find, plugin.house.lending.list_volumes
    plugin.house.lending.find = lambda name: looked.append(name) or find(name)  # type: ignore[method-assign]
    plugin.house.lending.list_volumes = lambda: looked.append("all") or list_volumes()  # type: ignore[method-assign]
    for _ in range(5):
        kept.call("Get", b'{"Name": "one"}')
        kept.call("List", b"{}")
        kept.call("List", b"")
    assert looked == ["one", "all"]
    plugin.call("Create", {"Name": "two"})
    looked.clear()
    assert len(json.loads(kept.call("List", b"{}")[1])["Volumes"]) == 2
    assert looked == ["all"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["Get", "List"]), st.one_of(st.binary(max_size=60), st.text(max_size=20).map(json.dumps)))
def test_any_body_is_answered_the_same_at_once_and_when_waited_for(
    plugin: Plugin, method: str, body: bytes | str
) -> None:
    raw = (body if isinstance(body, bytes) else body.encode()) or b" "
    Kept(plugin).agreed(method, raw)
