"""/orlop: about the daemon, what Docker's API has no call for. openapi.json beside this package describes it."""

import functools
from importlib import resources

from orlop import __version__
from orlop.docker.messages import Reply, Request, Response, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service

routes = Routes()


@routes.get("/orlop/v1/daemon")
async def daemon(service: Service, request: Request) -> Reply:
    info = await service.quick(service.engine.system.info)
    return json_response(
        {
            "Version": __version__,
            "DataRoot": info.data_root,
            "LayerDriver": info.layer_driver,
            "Runtime": info.runtime,
            "Unfinished": list(info.unfinished),
            "Warnings": list(info.warnings),
            "Facts": dict(info.extra),
        }
    )


@routes.get("/orlop/v1/openapi.json")
def describe(service: Service, request: Request) -> Reply:
    return Response(200, _description(), "application/json")


@functools.cache
def _description() -> bytes:
    return (resources.files("orlop.docker") / "openapi.json").read_bytes()
