"""/orlop/v1: what Docker's API has no call for. openapi.json beside this package describes it."""

import functools
from importlib import resources

import msgspec

from orlop import __version__
from orlop.docker.messages import Reply, Request, Response, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.wire.times import render_time
from orlop.model.volume import RetiredVolume

routes = Routes()


class Restore(msgspec.Struct):
    """The body of a restore; all of it may be left out."""

    Name: str = ""


def show_retired(retired: RetiredVolume) -> dict[str, object]:
    volume = retired.volume
    return {
        "ID": retired.id,
        "Name": volume.name,
        "Driver": volume.driver,
        "CreatedAt": render_time(volume.created_at_ns),
        "RetiredAt": render_time(retired.retired_at_ns),
        "PurgeAt": render_time(retired.purge_at_ns),
        "Reason": retired.reason,
        "Labels": None if volume.labels is None else dict(volume.labels),
    }


@routes.get("/orlop/v1/volumes/retired")
async def list_retired(service: Service, request: Request) -> Reply:
    found = await service.quick(service.engine.volumes.list_retired)
    return json_response({"Retired": [show_retired(each) for each in found]})


@routes.post("/orlop/v1/volumes/retired/{reference}/restore")
async def restore(service: Service, request: Request) -> Reply:
    wish = await request.json(Restore)
    volume = await service.quick(service.engine.volumes.restore, request.parameters["reference"], wish.Name)
    return json_response(show_volume(volume))


@routes.delete("/orlop/v1/volumes/retired/{reference}")
async def purge(service: Service, request: Request) -> Reply:
    purged = await service.long(service.engine.volumes.purge, request.parameters["reference"])
    return json_response(show_retired(purged))


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
