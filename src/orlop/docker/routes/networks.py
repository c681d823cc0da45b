"""/networks: what there is; networks of one's own come later."""

from ipaddress import ip_network

from orlop.docker.filters import parse_filters
from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.wire.times import render_time
from orlop.errors import Unsupported
from orlop.model.container import Container
from orlop.model.network import Network

routes = Routes()


@routes.get("/networks")
async def list_networks(service: Service, request: Request) -> Reply:
    found = await service.quick(service.engine.networks.list_networks, parse_filters(request))
    return json_response([show_network(network) for network in found])


@routes.post("/networks/create")
async def create_network(service: Service, request: Request) -> Reply:
    raise _unsupported("create")


@routes.post("/networks/prune", since=(1, 25))
async def prune_networks(service: Service, request: Request) -> Reply:
    return json_response({"NetworksDeleted": None})


@routes.post("/networks/{name}/connect")
async def connect(service: Service, request: Request) -> Reply:
    raise _unsupported("connect")


@routes.post("/networks/{name}/disconnect")
async def disconnect(service: Service, request: Request) -> Reply:
    raise _unsupported("disconnect")


@routes.get("/networks/{name}")
async def inspect_network(service: Service, request: Request) -> Reply:
    networks = service.engine.networks
    network = await service.quick(networks.get, request.parameters["name"])
    containers = await service.quick(service.engine.containers.list_containers, {}, False)
    members = [each for each in containers if each.network and each.network.network_id == network.id]
    shown = show_network(network, members)
    if request.api >= (1, 52) and network.subnet:
        shown["Status"] = {"IPAM": {"Subnets": {network.subnet: _addresses(network.subnet, len(members))}}}
    return json_response(shown)


@routes.delete("/networks/{name}")
async def remove_network(service: Service, request: Request) -> Reply:
    network = await service.quick(service.engine.networks.get, request.parameters["name"])
    raise Unsupported(f"{network.name} is a pre-defined network and cannot be removed", "it is always there")


def _unsupported(verb: str) -> Unsupported:
    return Unsupported(
        f"network {verb}", "networks of one's own are not supported yet", "Use --network bridge, host or none"
    )


def show_network(network: Network, members: "list[Container] | None" = None) -> dict[str, object]:
    subnet = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else []
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": render_time(network.created_at_ns),
        "Scope": "local",
        "Driver": "null" if network.driver == "none" else network.driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": subnet},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {each.id: _member(each) for each in members or ()},
        "Options": {**_bridge_options(network), **network.options},
        "Labels": {},
    }


def _addresses(subnet: str, members: int) -> dict[str, int]:
    """The network's own address, the gateway's and the broadcast's are nobody's to have."""
    everything = ip_network(subnet, strict=False).num_addresses
    used = min(everything, members + 3)
    return {"IPsInUse": used, "DynamicIPsAvailable": everything - used}


def _bridge_options(network: Network) -> dict[str, str]:
    """What Docker says of its own default bridge, as far as it is so here."""
    if not network.bridge:
        return {}
    facts = {
        "name": network.bridge,
        "default_bridge": "true",
        "enable_icc": "true",
        "enable_ip_masquerade": "true",
    }
    return {f"com.docker.network.bridge.{key}": value for key, value in facts.items()}


def _member(container: Container) -> dict[str, str]:
    place = container.network
    assert place is not None
    return {
        "Name": container.name,
        "EndpointID": place.endpoint_id,
        "MacAddress": place.mac_address,
        "IPv4Address": f"{place.address}/{place.prefix_length}" if place.address else "",
        "IPv6Address": "",
    }
