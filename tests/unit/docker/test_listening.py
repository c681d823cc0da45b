"""Where the daemon may listen, and how it takes and leaves the place."""

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from orlop.docker.listening import Host, listen, parse_host
from orlop.docker.server import Server
from orlop.errors import Conflict, HostFailure, Malformed, OrlopError, Unsupported
from support.edge import Fakes, Served, make_engine
from support.ports import free_port


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("unix:///run/docker.sock", Host(path="/run/docker.sock")),
        ("/run/docker.sock", Host(path="/run/docker.sock")),
        ("tcp://127.0.0.1:2375", Host(address="127.0.0.1", port=2375)),
        ("tcp://localhost:2375/", Host(address="127.0.0.1", port=2375)),
        ("tcp://[::1]:2375", Host(address="::1", port=2375)),
    ],
)
def test_places_are_read(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("tcp://0.0.0.0:2375", Unsupported),
        ("tcp://192.0.2.1:2375", Unsupported),
        ("fd://", Unsupported),
        ("tcp://127.0.0.1", Malformed),
        ("tcp://127.0.0.1:99999", Malformed),
        ("tcp://example:2375", Malformed),
        ("unix://relative", Malformed),
        ("unix:///", Malformed),
        ("unix:///" + "x" * 200, Malformed),
        ("http://x", Malformed),
        ("", Malformed),
    ],
)
def test_other_places_are_refused_with_the_reason(text: str, kind: type[OrlopError]) -> None:
    with pytest.raises(kind) as caught:
        parse_host(text)
    assert text in caught.value.message


def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path: Path, fakes: Fakes) -> None:
    path = tmp_path / "new" / "s"
    with Served(path, fakes):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path, fakes: Fakes) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with Served(path, fakes) as served:
        assert served.call("GET", "/_ping").body == b"OK"


def listen_once(path: Path) -> None:
    asyncio.run(listen(Host(path=str(path)), asyncio.Protocol, "docker"))


def test_the_socket_of_a_living_daemon_is_left_alone(served: Served) -> None:
    with pytest.raises(Conflict, match="another daemon answers there"):
        listen_once(served.path)
    assert served.call("GET", "/_ping").body == b"OK"


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(Conflict, match="no socket"):
        listen_once(path)
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostFailure, match="listen on"):
        listen_once(tmp_path / "file" / "s")


def test_tcp_on_loopback_serves_the_same(fakes: Fakes) -> None:
    async def ask() -> bytes:
        port = free_port()
        stop, listening = asyncio.Event(), asyncio.Event()
        server = Server([f"tcp://127.0.0.1:{port}"], make_engine(fakes))
        serving = asyncio.create_task(server.serve(stop, listening.set))
        await asyncio.wait_for(listening.wait(), 10)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        stop.set()
        await serving
        return answer

    assert asyncio.run(ask()).endswith(b"\r\n\r\nOK")
