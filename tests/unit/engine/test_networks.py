"""Networks as the engine offers them, on drivers that touch nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.drivers.networks.host import HostDriver
from orlop.drivers.networks.none import NoneDriver
from orlop.engine.events import Events
from orlop.engine.networks import Networks
from orlop.errors import Conflict, HostFailure, Malformed, NotFound
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status
from orlop.model.event import Event
from orlop.model.network import Network, NetworkAttachment
from orlop.store.journal import Journal

ONE, TWO = "1" * 64, "2" * 64


class FakeBridge(NoneDriver):
    """Chooses its subnet at the first join, as the real one may; `broken` fails where the host would."""

    name = "bridge"
    broken = False

    def join(self, container_id: str, mac_address: str = "") -> NetworkAttachment:
        self._network = replace(self._network, subnet="10.0.0.0/24")
        return super().join(container_id, mac_address)

    def restore(self, attachments: Sequence[tuple[str, NetworkAttachment]]) -> None:
        if self.broken:
            raise HostFailure("network bridge", "the kernel said no")
        super().restore(attachments)


class House:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[Event] = []
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.path)
        events = Events()
        events.subscribe(self.seen.append)
        self.bridge = FakeBridge()
        drivers = {"bridge": self.bridge, "host": HostDriver(), "none": NoneDriver()}
        self.networks = Networks(drivers, self.journal, events)

    def restart(self) -> None:
        self.journal.close()
        self.start()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "journal.db")
    yield made
    made.journal.close()


def names(networks: Sequence[Network]) -> list[str]:
    return [network.name for network in networks]


def test_three_networks_are_there_by_name(house: House) -> None:
    networks = house.networks.list_networks({})
    assert names(networks) == ["bridge", "host", "none"]
    assert all(len(network.id) == 64 for network in networks)
    assert len({network.id for network in networks}) == 3


def test_ids_and_the_subnet_outlive_the_daemon(house: House) -> None:
    before = house.networks.list_networks({})
    house.networks.join("bridge", ONE)
    house.restart()
    after = house.networks.list_networks({})
    assert [network.id for network in after] == [network.id for network in before]
    assert house.networks.get("bridge").subnet == "10.0.0.0/24"


def test_a_network_is_found_by_name_id_and_unique_prefix(house: House) -> None:
    bridge = house.networks.get("bridge")
    assert house.networks.get(bridge.id) == house.networks.get(bridge.id[:12]) == bridge
    for unknown in ("", "nope", "zz"):
        with pytest.raises(NotFound, match=f"network {unknown} not found"):
            house.networks.get(unknown)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": ("o",)}, ["host", "none"]),
        ({"driver": ("bridge", "host")}, ["bridge", "host"]),
        ({"type": ("builtin",)}, ["bridge", "host", "none"]),
        ({"type": ("custom",)}, []),
        ({"scope": ("swarm",)}, []),
        ({"label": ("a",)}, []),
        ({"dangling": ("true",)}, []),
        ({"name": ("host",), "driver": ("bridge",)}, []),
    ],
)
def test_a_listing_is_filtered(house: House, filters: dict[str, tuple[str, ...]], expected: list[str]) -> None:
    assert names(house.networks.list_networks(filters)) == expected


def test_an_unknown_filter_is_refused(house: House) -> None:
    with pytest.raises(Malformed, match="invalid filter 'colour'"):
        house.networks.list_networks({"colour": ("red",)})


def test_joining_and_leaving_are_told_once(house: House) -> None:
    attachment = house.networks.join("default", ONE)
    assert attachment.network == "bridge"
    assert house.networks.members("bridge") == [ONE]
    house.networks.leave(attachment, ONE)
    house.networks.leave(attachment, ONE)
    assert [(event.kind, event.action, event.attributes) for event in house.seen] == [
        ("network", action, {"container": ONE, "name": "bridge", "type": "bridge"})
        for action in ("connect", "disconnect")
    ]


def test_a_restart_keeps_those_who_run(house: House) -> None:
    first = house.networks.join("bridge", ONE)
    house.networks.join("bridge", TWO)
    house.restart()
    house.networks.restore([(ONE, first)])
    assert house.networks.members("bridge") == [ONE]


def test_a_network_that_cannot_be_put_in_order_stops_no_daemon(house: House) -> None:
    house.bridge.broken = True
    house.networks.restore([])
    assert house.networks.join("none", ONE).network == "none"


def container(state: ContainerState, network: NetworkAttachment | None) -> Container:
    status = Status(state, pid=42)
    return Container(ONE, "app", 1, "", ContainerConfig(), HostConfig(), "layer", status=status, network=network)


def test_sharing_leads_into_the_others_sandbox(house: House) -> None:
    running = container(ContainerState.RUNNING, NetworkAttachment("bridge", sandbox_path="/run/netns/x"))
    shared = house.networks.share(running)
    assert (shared.network, shared.sandbox_path) == (f"container:{ONE}", "/run/netns/x")
    house.networks.leave(shared, TWO)
    without = container(ContainerState.RUNNING, NetworkAttachment("none"))
    assert house.networks.share(without).sandbox_path == "/proc/42/ns/net"
    on_host = container(ContainerState.RUNNING, NetworkAttachment("host", sandbox_path="host"))
    assert house.networks.share(on_host).sandbox_path == "host"


def test_nobody_shares_with_a_container_that_does_not_run(house: House) -> None:
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        house.networks.share(container(ContainerState.EXITED, None))
