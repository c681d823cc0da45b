"""/orlop/v1/volumes/retired: removed volumes, as long as they can be brought back."""

import msgspec

from orlop.docker.filters import parse_filters
from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.wire.times import render_time
from orlop.model.volume import RetiredVolume, hide_secrets

routes = Routes()


class Restore(msgspec.Struct):
    """The body of a restore; all of it may be left out."""

    Name: str = ""


def show_retired(retired: RetiredVolume, size_bytes: int) -> dict[str, object]:
    volume = retired.volume
    return {
        "ID": retired.id,
        "Name": volume.name,
        "Aliases": list(volume.aliases),
        "Driver": volume.driver,
        "CreatedAt": render_time(volume.created_at_ns),
        "RetiredAt": render_time(retired.retired_at_ns),
        "PurgeAt": render_time(retired.purge_at_ns),
        "Reason": retired.reason,
        "Labels": None if volume.labels is None else dict(volume.labels),
        "Options": hide_secrets(volume.options) if volume.options else None,
        "SizeBytes": size_bytes,
    }


@routes.get("/orlop/v1/volumes/retired")
async def list_retired(service: Service, request: Request) -> Reply:
    volumes = service.engine.volumes
    found = await service.quick(volumes.list_retired, parse_filters(request))
    return json_response({"Retired": [show_retired(each, volumes.known_size_bytes(each.id)) for each in found]})


@routes.post("/orlop/v1/volumes/retired/{reference}/restore")
async def restore(service: Service, request: Request) -> Reply:
    wish = await request.json(Restore)
    volume = await service.quick(service.engine.volumes.restore, request.parameters["reference"], wish.Name)
    return json_response(show_volume(volume))


@routes.delete("/orlop/v1/volumes/retired/{reference}")
async def purge(service: Service, request: Request) -> Reply:
    purged = await service.long(service.engine.volumes.purge, request.parameters["reference"])
    return json_response(show_retired(purged, -1))
