import pytest

from orlop.cluster.address import Credentials, Endpoint, parse_endpoints
from orlop.errors import Malformed


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("etcd://10.0.0.1:2379", [("10.0.0.1", 2379)]),
        ("etcd://etcd", [("etcd", 2379)]),
        ("etcd://a:1,b,c:3/", [("a", 1), ("b", 2379), ("c", 3)]),
        ("etcd://a,etcd://b", [("a", 2379), ("b", 2379)]),
        ("etcd://[::1]:7,[::2]", [("::1", 7), ("::2", 2379)]),
        ("etcd://a,a:2379", [("a", 2379)]),
    ],
)
def test_an_address_names_hosts_and_ports(address: str, wanted: list[tuple[str, int]]) -> None:
    assert [(endpoint.host, endpoint.port) for endpoint in parse_endpoints(address)] == wanted


@pytest.mark.parametrize(
    "address",
    ["", "10.0.0.1", "http://a", "etcd://", "etcd://a,,b", "etcd://a:0", "etcd://a:x", "etcd://u:p@a", "etcd://[::1"],
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(Malformed, match="etcd://10"):
        parse_endpoints(address)


def test_an_endpoint_is_shown_as_it_is_written() -> None:
    assert [str(Endpoint("a")), str(Endpoint("::1", 7))] == ["a:2379", "[::1]:7"]


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials(user="u", password="secret"))
