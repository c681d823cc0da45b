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


@routes.get("/orlop/metrics")
async def metrics(service: Service, request: Request) -> Reply:
    """Prometheus' text format."""
    info = await service.quick(service.engine.system.info)
    volumes, _ = await service.quick(service.engine.volumes.list_volumes, {})
    retired = await service.quick(service.engine.volumes.list_retired)
    lines: list[str] = []
    _gauge(
        lines,
        "orlop_containers",
        "Containers by state.",
        {'state="running"': info.running, 'state="paused"': info.paused, 'state="stopped"': info.stopped},
    )
    _gauge(lines, "orlop_images", "Images.", {"": info.images})
    _gauge(lines, "orlop_volumes", "Volumes.", {"": len(volumes)})
    _gauge(lines, "orlop_volumes_retired", "Removed volumes that can be restored.", {"": len(retired)})
    _gauge(
        lines,
        "orlop_operations_unfinished",
        "Clean-ups that failed and will be tried again.",
        {"": len(info.unfinished)},
    )
    _gauge(lines, "orlop_events_listeners", "Clients that listen to events.", {"": service.events_listening})
    _gauge(lines, "orlop_info", "About the daemon.", {f'version="{__version__}"': 1})
    return Response(200, "\n".join([*lines, ""]).encode(), "text/plain; version=0.0.4; charset=utf-8")


def _gauge(lines: list[str], name: str, what: str, values: dict[str, int]) -> None:
    lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
    lines += [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in values.items()]
