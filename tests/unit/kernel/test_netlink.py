"""Netlink: attributes both ways, and questions to this kernel that need no rights."""

import errno
import os
import struct
from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kernel import rtnetlink
from orlop.kernel.netlink import Request, RouteSocket, attribute, nested, number, read_attributes, text


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=300)))
def test_attributes_are_read_as_they_were_written(values: dict[int, bytes]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in values.items())
    assert len(data) % 4 == 0
    assert read_attributes(data) == values
    assert read_attributes(b"head" + data, offset=4) == values


def test_nested_attributes_are_found_under_their_own_number() -> None:
    outer = read_attributes(nested(18, text(1, "veth"), number(5, 7)))
    assert read_attributes(outer[18]) == {1: b"veth\0", 5: struct.pack("=I", 7)}


@given(st.binary(max_size=200))
def test_garbage_ends_the_reading(data: bytes) -> None:
    assert isinstance(read_attributes(data), dict)


def test_the_loopback_is_found_and_nothing_else_by_that_name() -> None:
    with RouteSocket() as route:
        found = rtnetlink.find_link(route, "lo")
        assert found is not None
        assert (found.name, found.index, found.master) == ("lo", 1, 0)
        assert rtnetlink.find_link(route, "no-such-thing") is None
        assert "lo" in [link.name for link in rtnetlink.list_links(route)]


def test_addresses_and_routes_of_this_host_are_listed() -> None:
    with RouteSocket() as route:
        links = {link.index for link in rtnetlink.list_links(route)}
        assert all(index in links for index, _ in rtnetlink.list_addresses(route))
        assert all(index in links or index == 0 for index, _ in rtnetlink.list_routes(route))


def test_a_refusal_names_the_deed_and_the_rest_is_still_done() -> None:
    with RouteSocket() as route:
        wrong = Request("bring up interface 0", 16, struct.pack("=BxHiII", 0, 0, 0, 1, 1))
        with pytest.raises(OSError, match="bring up interface 0: ") as caught:
            route.batch(wrong, wrong)
        assert caught.value.errno in (errno.EINVAL, errno.ENODEV, errno.EPERM)
        assert rtnetlink.find_link(route, "lo") is not None, "the socket is in step"


def test_an_empty_batch_is_nothing() -> None:
    with RouteSocket() as route:
        route.batch()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")
def test_what_is_so_already_may_be_accepted() -> None:
    loopback = IPv4Interface((IPv4Address("127.0.0.1"), 8))
    with RouteSocket() as route:
        if (1, loopback) in rtnetlink.list_addresses(route):
            route.batch(rtnetlink.add_address(1, loopback))
        route.batch(rtnetlink.remove_link("no-such-thing"))
