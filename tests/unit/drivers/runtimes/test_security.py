"""Capabilities: the sets a user means by what is written behind --cap-add and --cap-drop."""

import pytest

from orlop.drivers.runtimes.security import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    capabilities_in_mask,
    effective_capabilities,
    normalised,
)
from orlop.errors import Malformed


def chosen(add: str = "", drop: str = "", privileged: bool = False) -> set[str]:
    return set(effective_capabilities(add.split(), drop.split(), privileged))


def test_the_default_set_is_the_mask_that_docker_containers_show() -> None:
    assert set(capabilities_in_mask(0xA80425FB)) == set(DEFAULT_CAPABILITIES) == chosen()


def test_names_are_taken_with_and_without_prefix_in_any_case() -> None:
    assert normalised(["net_admin", "CAP_NET_ADMIN", "Cap_Net_Admin", "all", "CAP_ALL"]) == (
        *["CAP_NET_ADMIN"] * 3,
        "ALL",
        "ALL",
    )


@pytest.mark.parametrize("name", ["", "FLY", "CAP_", "NET ADMIN", "CAP_CAP_CHOWN"])
def test_an_unknown_name_is_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        normalised([name])


def test_adding_and_dropping_start_from_the_default() -> None:
    assert chosen("NET_ADMIN", "CHOWN") == (set(DEFAULT_CAPABILITIES) | {"CAP_NET_ADMIN"}) - {"CAP_CHOWN"}


def test_dropping_all_leaves_what_is_added() -> None:
    assert chosen("CHOWN", "ALL") == {"CAP_CHOWN"}
    assert chosen("", "ALL") == set()


def test_adding_all_leaves_out_what_is_dropped() -> None:
    assert chosen("ALL", "SYS_ADMIN") == set(ALL_CAPABILITIES) - {"CAP_SYS_ADMIN"}


def test_privileged_has_everything_whatever_is_dropped() -> None:
    assert chosen("", "ALL", privileged=True) == set(ALL_CAPABILITIES)


def test_what_the_host_lacks_is_never_given() -> None:
    available = ("CAP_CHOWN", "CAP_KILL")
    for add in ([], ["ALL"], ["SYS_ADMIN"]):
        assert effective_capabilities(add, [], False, available) == available
    assert effective_capabilities([], [], True, available) == available


def test_the_order_is_the_kernels() -> None:
    assert effective_capabilities(["AUDIT_READ", "KILL", "CHOWN"], ["ALL"], False) == (
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_AUDIT_READ",
    )
