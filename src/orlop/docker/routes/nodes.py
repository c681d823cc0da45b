"""/orlop/v1/nodes and where volumes of the cluster are used. (Docker's /nodes are a swarm's.)"""

from typing import Any

from orlop.docker.messages import Reply, Request, empty, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.wire.times import render_time
from orlop.engine.nodes import Whereabouts

routes = Routes()


@routes.get("/orlop/v1/nodes")
async def list_nodes(service: Service, request: Request) -> Reply:
    nodes, warnings = await service.quick(service.engine.nodes.list_nodes)
    shown = [
        {
            "Name": node.name,
            "Version": node.version,
            "JoinedAt": render_time(node.joined_at_ns),
            "Alive": node.is_alive,
            "Self": node.is_self,
        }
        for node in nodes
    ]
    return json_response({"Nodes": shown, "Warnings": list(warnings)})


@routes.delete("/orlop/v1/nodes/{name}")
async def remove_node(service: Service, request: Request) -> Reply:
    await service.quick(service.engine.nodes.remove, request.parameters["name"])
    return empty()


@routes.get("/orlop/v1/volumes/{name}/where")
async def where(service: Service, request: Request) -> Reply:
    return json_response(show_where(await service.quick(service.engine.nodes.where, request.parameters["name"])))


@routes.post("/orlop/v1/volumes/{name}/takeover")
async def take_over(service: Service, request: Request) -> Reply:
    writer = await service.long(service.engine.volumes.writing.take_over, request.parameters["name"])
    return json_response({"Node": writer.node, "Epoch": writer.epoch})


def show_where(found: Whereabouts) -> dict[str, Any]:
    volume = found.volume
    return {
        "Name": volume.name,
        "ID": volume.id,
        "Driver": volume.driver,
        "Access": volume.access,
        "Node": volume.node,
        "CreatedAt": render_time(volume.created_at_ns),
        "Hidden": found.is_hidden,
        "Uses": [
            {"Node": use.node, "Container": use.container, "ID": use.container_id, "Running": use.is_running}
            for use in found.uses
        ],
    }
