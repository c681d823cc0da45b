"""Subnets and addresses: never the same one twice."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

from orlop.drivers.networks.addresses import (
    AddressPool,
    choose_subnet,
    default_subnets,
    gateway_of,
    mac_address_of,
)
from orlop.errors import Malformed, Unavailable
from orlop.model.network import parse_gateway


def test_the_first_subnet_is_dockers() -> None:
    assert choose_subnet([]) == IPv4Network("172.17.0.0/16")


def test_a_subnet_that_the_host_uses_is_passed_over() -> None:
    taken = [IPv4Network("172.17.5.0/24"), IPv4Network("172.18.0.0/15")]
    assert choose_subnet(taken) == IPv4Network("172.20.0.0/16")


def test_the_remembered_subnet_is_kept_while_it_is_free() -> None:
    remembered = IPv4Network("10.9.0.0/24")
    assert choose_subnet([], remembered) == remembered
    assert choose_subnet([IPv4Network("10.0.0.0/8")], remembered) == IPv4Network("172.17.0.0/16")


def test_a_host_without_a_free_subnet_is_told_what_to_set() -> None:
    with pytest.raises(Unavailable, match="--bip"):
        choose_subnet([IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")])


@given(st.lists(st.sampled_from(list(default_subnets())), max_size=30))
def test_the_chosen_subnet_overlaps_nothing(taken: list[IPv4Network]) -> None:
    assert not any(choose_subnet(taken).overlaps(each) for each in taken)


def test_the_bridge_has_the_first_address() -> None:
    assert gateway_of(IPv4Network("172.17.0.0/16")) == IPv4Interface("172.17.0.1/16")


@pytest.mark.parametrize("text", ["", "bridge", "10.0.0.0/24", "10.0.0.255/24", "10.0.0.1/31", "10.0.0.1", "::1/64"])
def test_a_bridge_address_without_room_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="invalid bridge address"):
        parse_gateway(text)


def test_the_hardware_address_follows_from_the_address() -> None:
    assert mac_address_of(IPv4Address("172.17.0.2")) == "02:42:ac:11:00:02"


def test_addresses_are_handed_out_from_the_bottom() -> None:
    pool = AddressPool(IPv4Interface("10.0.0.1/29"))
    assert [str(pool.take()) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    pool.free(IPv4Address("10.0.0.3"))
    assert str(pool.take()) == "10.0.0.3"


def test_a_gateway_in_the_middle_is_passed_over() -> None:
    pool = AddressPool(IPv4Interface("10.0.0.2/29"))
    assert [str(pool.take()) for _ in range(2)] == ["10.0.0.1", "10.0.0.3"]


def test_a_full_subnet_says_so() -> None:
    pool = AddressPool(IPv4Interface("10.0.0.1/30"))
    pool.take()
    with pytest.raises(Unavailable, match="no address is free: 1 containers have one"):
        pool.take()


def test_the_gateway_is_never_free() -> None:
    pool = AddressPool(IPv4Interface("10.0.0.1/29"))
    pool.free(IPv4Address("10.0.0.1"))
    assert str(pool.take()) == "10.0.0.2"


class Pool(RuleBasedStateMachine):
    """Taken, claimed and freed in any order: no address twice, and none lost."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool(IPv4Interface("10.0.0.3/28"))
        self.taken: set[IPv4Address] = set()

    @rule(target=held)
    def take(self) -> IPv4Address | None:
        free = 13 - len(self.taken)
        try:
            address = self.pool.take()
        except Unavailable:
            assert free == 0
            return None
        assert free > 0
        assert address not in self.taken
        assert address in IPv4Network("10.0.0.0/28")
        assert address != IPv4Address("10.0.0.3")
        self.taken.add(address)
        return address

    @rule(last=st.integers(0, 20))
    def claim(self, last: int) -> None:
        address = IPv4Address("10.0.0.0") + last
        self.pool.claim(address)
        if 0 < last < 15 and last != 3:
            self.taken.add(address)

    @rule(address=consumes(held))
    def free(self, address: IPv4Address | None) -> None:
        if address is not None:
            self.pool.free(address)
            self.taken.discard(address)


TestPool = Pool.TestCase
