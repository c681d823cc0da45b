"""Names to addresses, with a deadline."""

import socket
import threading

import pytest

from orlop.kernel.resolving import resolve


@pytest.mark.parametrize("address", ["10.0.0.1", "fe80::1", "fe80::1%eth0", "::"])
def test_an_address_is_left_alone(address: str) -> None:
    assert resolve(address, 0) == address


def test_a_name_gives_its_address_ipv4_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: found)
    assert resolve("nas", 10) == "127.0.0.1"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "x..y"])
def test_an_unknown_name_says_so(host: str) -> None:
    with pytest.raises(OSError, match=r"not|unknown|Name"):
        resolve(host, 30)


def test_a_name_server_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    silence = threading.Event()

    def wait(*arguments: object, **more: object) -> list[object]:
        silence.wait(60)
        raise OSError("nobody answered")

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    with pytest.raises(TimeoutError, match="no answer within"):
        resolve("nas", 0.01)
    silence.set()
