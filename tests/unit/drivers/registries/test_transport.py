"""Where a registry may be spoken to without TLS, and what is told to whom."""

import pytest

from orlop.drivers.registries.driver import Credentials
from orlop.drivers.registries.transport import Transport, is_loopback
from orlop.errors import Forbidden, Unavailable


@pytest.mark.parametrize(
    ("name", "loops"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("[::1]:5000", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org:5000", False),
        ("10.0.0.1", False),
        ("registry.example.org", False),
        ("localhost@example.org", False),
        ("", False),
    ],
)
def test_only_loopback_is_loopback(name: str, loops: bool) -> None:
    assert is_loopback(name) is loops


def test_plain_http_elsewhere_is_refused() -> None:
    transport = Transport("127.0.0.1:1", "a/b", "pull", Credentials())
    transport._scheme = "http"
    with pytest.raises(Forbidden, match="loopback only"):
        transport.request("GET", "http://registry.example.org/v2/")


def test_a_registry_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        Transport("127.0.0.1:1", "a/b", "pull", Credentials()).request("GET", "/v2/")


def test_credentials_are_not_shown() -> None:
    assert "planted" not in repr(Credentials("me", "planted", "planted", "planted"))
