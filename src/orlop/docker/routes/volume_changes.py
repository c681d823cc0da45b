"""/orlop/v1/volumes/{name}: what is done to a volume that exists, apart from `PUT /volumes/{name}`."""

import msgspec

from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.volume_report_out import inspect_volume

routes = Routes()


class Rename(msgspec.Struct):
    Name: str = ""
    Alias: bool = True


@routes.post("/orlop/v1/volumes/{name}/rename")
async def rename(service: Service, request: Request) -> Reply:
    wish = await request.json(Rename)
    renaming = service.engine.volumes.rename
    volume = await service.long(renaming, request.parameters["name"], wish.Name, wish.Alias)
    return json_response(inspect_volume(service.engine.volume_reports.of(volume)))
