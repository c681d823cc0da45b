"""Where plugins are found: sockets before files, the first directory before the next."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import plugin_address
from orlop.drivers.volumes.plugin_address import Address, PluginNames, Tls, canonical_name, find_address
from orlop.errors import Malformed


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


def listen(opened: list[socket.socket], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    opened.append(one)


def found(directory: Path, name: str = "far") -> Address:
    address = find_address([directory / "none", directory], name)
    assert address is not None
    return address


@pytest.mark.parametrize("place", ["far.sock", "far/far.sock"])
def test_a_socket_is_found_before_any_file(tmp_path: Path, sockets: list[socket.socket], place: str) -> None:
    (tmp_path / "far.spec").write_text("tcp://10.0.0.1:99")
    listen(sockets, tmp_path / place)
    assert found(tmp_path).socket == str(tmp_path / place)


def test_a_file_named_like_a_socket_is_none(tmp_path: Path) -> None:
    (tmp_path / "far.sock").write_text("")
    assert find_address([tmp_path], "far") is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://localhost:8080\n", Address("", "localhost", 8080)),
        ("http://10.0.0.1", Address("", "10.0.0.1", 80)),
        ("https://far.example:4433", Address("", "far.example", 4433, Tls(skip_verify=True))),
        ("unix:///run/far.sock", Address("/run/far.sock")),
        ("tcp://[::1]:9", Address("", "::1", 9)),
    ],
)
@pytest.mark.parametrize("place", ["far.spec", "far/far.spec"])
def test_a_spec_is_one_url(tmp_path: Path, place: str, url: str, expected: Address) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(url)
    address = found(tmp_path)
    assert (address.socket, address.host, address.port, address.tls) == (
        expected.socket,
        expected.host,
        expected.port,
        expected.tls,
    )


@pytest.mark.parametrize("url", ["", "localhost:8080", "npipe:////./pipe/x", "tcp://", "unix://relative", "tcp://a:b"])
def test_what_is_no_address_is_refused_with_the_file_named(tmp_path: Path, url: str) -> None:
    (tmp_path / "far.spec").write_text(url)
    with pytest.raises(Malformed, match=r"far\.spec"):
        found(tmp_path)


def test_a_json_says_how_to_trust(tmp_path: Path) -> None:
    tls = '{"InsecureSkipVerify": false, "CAFile": "/ca", "CertFile": "/cert", "KeyFile": "/key"}'
    (tmp_path / "far.json").write_text(f'{{"Name": "other", "Addr": "tcp://far:1", "TLSConfig": {tls}}}')
    assert found(tmp_path).tls == Tls(False, "/ca", "/cert", "/key")
    (tmp_path / "far.json").write_text('{"Addr": "https://far:1"}')
    assert found(tmp_path).tls == Tls()
    (tmp_path / "far.json").write_text('{"Addr": "https://far:1", "TLSConfig": {}}')
    assert found(tmp_path).tls == Tls(skip_verify=True), "nothing to verify with"
    (tmp_path / "far.json").write_text("[" * 100_000)
    with pytest.raises(Malformed, match=r"far\.json"):
        found(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../far", "a/b", ".far", "far\0", "x" * 300])
def test_a_name_cannot_lead_out_of_the_directories(tmp_path: Path, name: str) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "far.spec").write_text("tcp://a:1")
    assert find_address([tmp_path / "plugins"], name) is None


def test_another_socket_at_the_same_place_is_another_address(tmp_path: Path, sockets: list[socket.socket]) -> None:
    listen(sockets, tmp_path / "far.sock")
    first = found(tmp_path)
    assert found(tmp_path) == first
    (tmp_path / "far.sock").unlink()
    listen(sockets, tmp_path / "far.sock")
    assert found(tmp_path) != first


def test_names_are_those_of_all_kinds_of_files(tmp_path: Path, sockets: list[socket.socket]) -> None:
    listen(sockets, tmp_path / "one.sock")
    listen(sockets, tmp_path / "two/two.sock")
    (tmp_path / "three.spec").write_text("nonsense")
    (tmp_path / "four.json").write_text("")
    (tmp_path / ".hidden.spec").write_text("")
    (tmp_path / "five.txt").write_text("")
    (tmp_path / "six").mkdir()
    assert PluginNames([tmp_path, tmp_path / "none"]).read() == ["four", "one", "three", "two"]


def test_names_are_read_again_when_something_changed_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = tmp_path / "later"
    names = PluginNames([tmp_path, later])
    (tmp_path / "folder").mkdir()
    read: list[str] = []
    genuine = plugin_address._names_in

    def reading(directory: str) -> Iterator[str]:
        read.append(directory)
        return genuine(directory)

    def settle() -> None:
        for path in (tmp_path, *tmp_path.glob("*/")):
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))

    monkeypatch.setattr(plugin_address, "_names_in", reading)
    settle()
    assert [names.read() for _ in range(3)] == [[]] * 3
    assert len(read) == 2, "each directory once"
    (tmp_path / "one.spec").touch()
    assert names.read() == ["one"]
    assert names.read() == ["one"]
    assert len(read) == 6, "what has changed just now may change again unseen"
    settle()
    assert names.read() == names.read() == ["one"]
    (tmp_path / "folder/folder.spec").touch()
    assert names.read() == ["folder", "one"]
    settle()
    names.read()
    later.mkdir()
    (later / "two.spec").touch()
    assert names.read() == ["folder", "one", "two"]
    settle()
    names.read()
    (tmp_path / "one.spec").unlink()
    assert names.read() == ["folder", "two"]


def test_latest_is_the_name_itself() -> None:
    assert canonical_name("far:latest") == "far" == canonical_name("far")
    assert canonical_name("far:1") == "far:1"
