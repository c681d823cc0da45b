"""The bridge on a real kernel: who reaches whom, and that nothing stays behind.

Each test has its own bridge and, as the outside world, a namespace joined to the host by a veth pair.
"""

import errno
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from orlop.drivers.networks import firewall
from orlop.drivers.networks.bridge import BridgeDriver
from orlop.errors import Conflict, Malformed, Unavailable, Unsupported
from orlop.kernel.netlink import RouteSocket
from orlop.model.network import Network, NetworkAttachment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")

NETWORK = Network("bridge", "cd" * 32, "bridge", 1)


class Place:
    """Where a driver lives; `driver()` is a daemon started anew."""

    def __init__(self, namespaces: Path) -> None:
        self.bridge = f"okt{secrets.token_hex(4)}"
        self.namespaces = namespaces

    def driver(self, remembered: Network = NETWORK, gateway: str = "") -> BridgeDriver:
        made = BridgeDriver(self.bridge, self.namespaces, IPv4Interface(gateway) if gateway else None)
        made.open(remembered)
        return made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "netns")
    yield made
    made.driver().remove()
    assert not interfaces(made.bridge), "the bridge stayed behind"
    assert f"orlop-{made.bridge}" not in run("nft", "list", "tables"), "its rules stayed behind"
    assert not made.namespaces.exists() or not list(made.namespaces.iterdir())
    assert str(made.namespaces) not in Path("/proc/self/mountinfo").read_text()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def interfaces(name: str) -> list[str]:
    return [each["ifname"] for each in json.loads(run("ip", "-j", "link")) if each["ifname"] == name]


def ports(bridge: str) -> list[str]:
    return [each["ifname"] for each in json.loads(run("ip", "-j", "link", "show", "master", bridge))]


def inside(attachment: NetworkAttachment, *command: str) -> str:
    return run("nsenter", f"--net={attachment.sandbox_path}", *command)


def reaches(attachment: NetworkAttachment, address: str) -> bool:
    command = ["nsenter", f"--net={attachment.sandbox_path}", "ping", "-c1", "-W3", address]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def a_container() -> str:
    return secrets.token_hex(32)


@pytest.fixture
def outside() -> Iterator[str]:
    """A namespace that stands for the world: its name is also that of the host's end. The host has 10.213.7.1 there,
    the world 10.213.7.2, and the world knows no way to the containers."""
    name = f"oko{secrets.token_hex(4)}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "addr", "add", "10.213.7.1/24", "dev", name)
        run("ip", "link", "set", name, "up")
        run("ip", "-n", name, "addr", "add", "10.213.7.2/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        yield name
    finally:
        run("ip", "netns", "del", name)
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


def test_a_container_has_its_address_and_reaches_the_host(place: Place) -> None:
    driver = place.driver()
    attachment = driver.join(a_container())
    network = driver.network()
    assert (attachment.gateway, attachment.network_id) == (network.gateway, NETWORK.id)
    addresses = json.loads(inside(attachment, "ip", "-j", "addr", "show", "eth0"))[0]
    assert addresses["address"] == attachment.mac_address
    shown = [f"{each['local']}/{each['prefixlen']}" for each in addresses["addr_info"]]
    assert shown == [f"{attachment.address}/{attachment.prefix_length}"], "no IPv6 address of its own accord"
    assert reaches(attachment, attachment.gateway)
    assert reaches(attachment, "127.0.0.1")


def test_two_containers_see_each_other(place: Place) -> None:
    driver = place.driver()
    first, second = driver.join(a_container()), driver.join(a_container())
    assert first.address != second.address
    assert reaches(first, second.address)


def test_the_outside_sees_the_hosts_address_and_cannot_come_in(place: Place, outside: str) -> None:
    driver = place.driver()
    attachment = driver.join(a_container())
    # The world has no route to the container: an answer comes back only because the host lent its address.
    assert reaches(attachment, "10.213.7.2")
    run("ip", "-n", outside, "route", "add", driver.network().subnet, "via", "10.213.7.1")
    knock = subprocess.run(
        ["ip", "netns", "exec", outside, "ping", "-c1", "-W1", attachment.address], capture_output=True, check=False
    )
    assert knock.returncode == 1


def test_a_hardware_address_can_be_chosen(place: Place) -> None:
    driver = place.driver()
    attachment = driver.join(a_container(), "02-42-DE-AD-00-01")
    assert attachment.mac_address == "02:42:de:ad:00:01"
    assert "02:42:de:ad:00:01" in inside(attachment, "ip", "link", "show", "eth0")
    with pytest.raises(Malformed):
        driver.join(a_container(), "nonsense")


def test_nothing_is_on_the_host_before_the_first_join(place: Place) -> None:
    driver = place.driver()
    assert driver.network().subnet
    driver.restore([])
    driver.close()
    assert not interfaces(place.bridge)


def test_the_bridge_goes_when_the_daemon_stops_with_nobody_in(place: Place) -> None:
    driver = place.driver()
    container = a_container()
    driver.join(container)
    driver.close()
    assert interfaces(place.bridge)
    driver.leave(container)
    driver.close()
    assert not interfaces(place.bridge)
    assert f"orlop-{place.bridge}" not in run("nft", "list", "tables")


def test_twenty_join_at_once(place: Place) -> None:
    driver = place.driver()
    with ThreadPoolExecutor(20) as pool:
        joined = list(pool.map(driver.join, [a_container() for _ in range(20)]))
    assert len({attachment.address for attachment in joined}) == 20
    assert len(ports(place.bridge)) == 20
    assert reaches(joined[0], joined[19].address)


def test_all_who_left_are_gone_and_their_addresses_come_back(place: Place) -> None:
    driver = place.driver(gateway="10.214.0.1/29")
    for _ in range(4):
        joined = {container: driver.join(container) for container in (a_container() for _ in range(5))}
        assert {attachment.address for attachment in joined.values()} == {f"10.214.0.{last}" for last in range(2, 7)}
        with pytest.raises(Unavailable, match="no address is free"):
            driver.join(a_container())
        for container in joined:
            driver.leave(container)


def test_a_namespace_kept_by_others_gives_its_address_up_all_the_same(place: Place) -> None:
    driver = place.driver(gateway="10.214.0.1/30")
    container = a_container()
    attachment = driver.join(container)
    kept = os.open(attachment.sandbox_path, os.O_RDONLY)
    try:
        driver.leave(container)
        assert driver.join(a_container()).address == attachment.address
    finally:
        os.close(kept)


def test_after_a_restart_who_runs_keeps_the_network_and_the_rest_is_removed(place: Place) -> None:
    before = place.driver()
    running, gone = a_container(), a_container()
    attachment = before.join(running)
    leftover = before.join(gone)
    (place.namespaces / a_container()).touch()  # a crash between making the file and mounting on it
    after = place.driver(before.network())
    after.restore([(running, attachment)])
    assert not Path(leftover.sandbox_path).exists()
    assert [port.name for port in place.namespaces.iterdir()] == [running]
    assert len(ports(place.bridge)) == 1
    assert reaches(attachment, attachment.gateway)
    assert after.join(a_container()).address != attachment.address


def test_the_subnet_is_remembered_unless_the_host_needs_it(place: Place, outside: str) -> None:
    first = place.driver(gateway="10.219.0.1/24")  # not of those that other daemons choose from meanwhile
    first.join(a_container())
    remembered = first.network()
    first.remove()
    assert place.driver(remembered).join(a_container()).network_id == NETWORK.id
    again = place.driver(remembered)
    again.restore([])
    assert again.network() == remembered
    again.remove()
    run("ip", "route", "add", remembered.subnet, "via", "10.213.7.2")
    try:
        moved = place.driver(remembered)
        address = moved.join(a_container()).address
        assert IPv4Interface(address).ip not in IPv4Network(remembered.subnet)
        assert moved.network().subnet != remembered.subnet
        assert moved.network().id == remembered.id
    finally:
        run("ip", "route", "del", remembered.subnet)


def test_two_daemons_never_choose_the_same_subnet(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    drivers = [place.driver(), other.driver()]
    try:
        with ThreadPoolExecutor(2) as pool:
            joined = list(pool.map(lambda driver: driver.join(a_container()), drivers))
        subnets = [IPv4Network(driver.network().subnet) for driver in drivers]
        assert not subnets[0].overlaps(subnets[1])
        assert not reaches(joined[0], joined[1].address), "bridges are apart"
    finally:
        drivers[1].remove()


def test_a_bridge_that_somebody_removed_is_made_again(place: Place) -> None:
    driver = place.driver()
    driver.join(a_container())
    run("ip", "link", "del", place.bridge)
    attachment = driver.join(a_container())
    assert reaches(attachment, attachment.gateway)


@pytest.mark.parametrize("kind", ["veth", "bridge"])
def test_an_interface_of_somebody_else_is_left_alone(place: Place, kind: str) -> None:
    run("ip", "link", "add", place.bridge, "type", kind)
    run("ip", "addr", "add", "10.216.0.1/24", "dev", place.bridge)
    try:
        driver = place.driver()
        with pytest.raises(Conflict, match="was not made by Orlop"):
            driver.join(a_container())
        driver.restore([])
        driver.close()
        driver.remove()
        assert "10.216.0.1/24" in run("ip", "addr", "show", place.bridge)
    finally:
        run("ip", "link", "del", place.bridge)


def test_what_a_daemon_that_died_left_goes_with_the_next_one(place: Place) -> None:
    place.driver().join(a_container())
    after = place.driver()
    after.restore([])
    after.close()
    assert not interfaces(place.bridge)
    assert f"orlop-{place.bridge}" not in run("nft", "list", "tables")


def test_a_new_setting_waits_until_nobody_is_in_the_old_subnet(place: Place) -> None:
    before = place.driver(gateway="10.214.0.1/24")
    container = a_container()
    attachment = before.join(container)
    after = place.driver(before.network(), gateway="10.215.0.1/24")
    after.restore([(container, attachment)])
    assert after.join(a_container()).address == "10.214.0.3"


def test_without_nft_the_join_fails_and_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = place.driver()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="Install the package nftables"):
        driver.join(a_container())
    assert not place.namespaces.exists()
    monkeypatch.undo()
    assert driver.join(a_container()).address


def test_a_host_without_a_free_subnet_opens_and_tells_whoever_joins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.drivers.networks.addresses.default_subnets", lambda: iter(()))
    driver = place.driver()
    assert driver.network().subnet == ""
    with pytest.raises(Unavailable, match="--bip"):
        driver.join(a_container())
    monkeypatch.undo()
    assert reaches(driver.join(a_container()), driver.network().gateway)


def test_a_join_that_fails_half_way_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = place.driver(gateway="10.214.0.1/30")
    monkeypatch.setattr("orlop.drivers.networks.bridge.CONTAINER_INTERFACE", "a-name-that-is-too-long")
    with pytest.raises(OSError, match="create veth"):
        driver.join(a_container())
    assert list(place.namespaces.iterdir()) == []
    monkeypatch.undo()
    assert driver.join(a_container()).address == "10.214.0.2"


@pytest.mark.parametrize(("number", "hint"), [(errno.EOPNOTSUPP, "Load the kernel modules"), (errno.EPERM, "as root")])
def test_a_kernel_that_cannot_is_told_with_the_way_out(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def refuse(pin: Path) -> RouteSocket:
        raise OSError(number, f"create veth: {os.strerror(number)}")

    driver = place.driver()
    monkeypatch.setattr("orlop.drivers.networks.bridge.create_network_namespace", refuse)
    with pytest.raises(Unsupported, match=hint):
        driver.join(a_container())


def test_rules_can_be_put_in_and_taken_out_again_and_again(place: Place) -> None:
    for _ in range(2):
        firewall.install(place.bridge, IPv4Network("10.214.0.0/24"))
    assert run("nft", "list", "table", "ip", f"orlop-{place.bridge}").count("masquerade") == 1
    for _ in range(2):
        firewall.uninstall(place.bridge)


def test_the_daemon_itself_stays_in_its_namespace(place: Place) -> None:
    home = Path("/proc/self/ns/net").readlink()
    driver = place.driver()
    driver.join(a_container())
    assert Path("/proc/thread-self/ns/net").readlink() == home
    assert place.bridge in [name for _, name in socket.if_nameindex()]
