"""hosts, resolv.conf, hardware addresses: rendered and parsed as Docker does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.network import (
    is_loopback_only,
    parse_extra_host,
    parse_mac_address,
    render_hosts,
    render_resolv_conf,
)


def test_a_container_finds_itself_by_name() -> None:
    text = render_hosts("box", address="172.17.0.2")
    assert text.splitlines()[0] == "127.0.0.1\tlocalhost"
    assert text.splitlines()[-1] == "172.17.0.2\tbox"


def test_a_domain_gives_the_long_name_first() -> None:
    assert render_hosts("box", "example.org", "10.0.0.2").splitlines()[-1] == "10.0.0.2\tbox.example.org box"
    assert render_hosts("box.example.org", "", "10.0.0.2").splitlines()[-1] == "10.0.0.2\tbox.example.org box"


def test_without_an_address_there_is_no_line_for_the_container() -> None:
    assert "box" not in render_hosts("box")


def test_extra_hosts_stand_before_the_containers_own_line() -> None:
    text = render_hosts("box", "", "10.0.0.2", ["db:10.1.1.1", "v6=::1", "up:host-gateway"], "10.0.0.1")
    assert text.splitlines()[-4:] == ["10.1.1.1\tdb", "::1\tv6", "10.0.0.1\tup", "10.0.0.2\tbox"]


def test_the_hosts_file_of_the_host_is_kept_where_its_network_is_shared() -> None:
    assert render_hosts("box", extra_hosts=["db:10.1.1.1"], host_text="1.2.3.4 me") == "1.2.3.4 me\n10.1.1.1\tdb\n"


def test_a_host_gateway_without_gateway_is_refused() -> None:
    with pytest.raises(Malformed, match="no gateway"):
        render_hosts("box", extra_hosts=["up:host-gateway"])


@pytest.mark.parametrize("text", ["db", "db:", ":10.0.0.1", "d b:10.0.0.1", "db:10.0.0.1\n6.6.6.6 bank", "db:nowhere"])
def test_an_extra_host_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="add-host"):
        parse_extra_host(text)


def test_an_ipv6_extra_host_may_wear_brackets() -> None:
    assert parse_extra_host("a:[fe80::1]") == ("a", "fe80::1")


HOST = """\
# made by somebody
nameserver 192.0.2.53
nameserver 127.0.0.53
nameserver fe80::1%eth0
search lan
options edns0
"""


def test_name_servers_that_a_container_cannot_reach_are_left_out() -> None:
    text = render_resolv_conf(HOST)
    assert text.splitlines() == ["nameserver 192.0.2.53", "# made by somebody", "search lan", "options edns0"]


def test_with_no_server_left_public_ones_are_asked() -> None:
    assert render_resolv_conf("nameserver 127.0.0.1\n").splitlines() == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    assert render_resolv_conf("").splitlines() == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]


def test_what_was_asked_for_takes_the_place_of_what_the_host_says() -> None:
    text = render_resolv_conf(HOST, ["10.0.0.53"], ["a.example", "b.example"], ["ndots:2", "timeout:1"])
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "nameserver 10.0.0.53",
        "search a.example b.example",
        "options ndots:2 timeout:1",
    ]


def test_a_search_of_a_dot_is_no_search() -> None:
    assert "search" not in render_resolv_conf(HOST, search=["."])


def test_on_the_hosts_network_its_file_stays_as_it_is() -> None:
    assert render_resolv_conf(HOST, shares_host_network=True) == HOST


def test_on_the_hosts_network_servers_asked_for_still_count() -> None:
    text = render_resolv_conf(HOST, ["127.0.0.1"], shares_host_network=True)
    assert [line for line in text.splitlines() if "nameserver" in line] == ["nameserver 127.0.0.1"]


@pytest.mark.parametrize("wish", [{"dns": ["1.1.1.1\nnameserver 6.6.6.6"]}, {"search": ["a b"]}, {"options": [""]}])
def test_a_wish_cannot_smuggle_in_lines(wish: dict[str, list[str]]) -> None:
    with pytest.raises(Malformed):
        render_resolv_conf(HOST, **wish)


@given(st.text(), st.booleans())
def test_any_host_file_gives_a_file_of_whole_lines(text: str, shares: bool) -> None:
    rendered = render_resolv_conf(text, shares_host_network=shares)
    assert not rendered or rendered.endswith("\n")


def test_a_stub_resolver_is_recognised() -> None:
    assert is_loopback_only("nameserver 127.0.0.53\noptions edns0\n")
    assert not is_loopback_only(HOST)
    assert not is_loopback_only("")


def test_a_hardware_address_is_read_in_both_spellings() -> None:
    assert parse_mac_address("02:42:AC:11:00:02") == parse_mac_address("02-42-ac-11-00-02") == "02:42:ac:11:00:02"


@pytest.mark.parametrize("text", ["", "02:42", "02:42:ac:11:00:0g", "02:42:ac:11:00:02:03", "03:00:00:00:00:01"])
def test_a_hardware_address_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="invalid MAC address"):
        parse_mac_address(text)
