"""/orlop/v1/volumes/{name}/archive: files in and out of a volume, as Docker's archive calls do it with a container."""

from orlop.docker.consume import stream_input
from orlop.docker.messages import Reply, Request, Response, empty
from orlop.docker.produce import stream_output
from orlop.docker.router import Routes
from orlop.docker.routes.container_files import STAT_HEADER, TAR, render_path_stat
from orlop.docker.service import Service
from orlop.engine.archive_work import PathStat
from orlop.errors import Malformed

routes = Routes()


def _path(request: Request) -> str:
    path = request.text("path")
    if not path:
        raise Malformed("", "bad parameter: path cannot be empty")
    return path


@routes.head("/orlop/v1/volumes/{name}/archive")
async def stat_path(service: Service, request: Request) -> Reply:
    found = await service.long(service.engine.volumes.archives.stat, request.parameters["name"], _path(request))
    return Response(200, headers={STAT_HEADER: render_path_stat(found)})


@routes.get("/orlop/v1/volumes/{name}/archive")
async def get_archive(service: Service, request: Request) -> Reply:
    archives, name, path = service.engine.volumes.archives, request.parameters["name"], _path(request)
    headers: dict[str, str] = {}

    def tell(found: PathStat) -> None:
        headers[STAT_HEADER] = render_path_stat(found)

    return await stream_output(service, lambda out: archives.get(name, path, out, tell), TAR, headers)


@routes.put("/orlop/v1/volumes/{name}/archive")
async def put_archive(service: Service, request: Request) -> Reply:
    archives, name, path = service.engine.volumes.archives, request.parameters["name"], _path(request)
    keeps_kinds = request.flag("noOverwriteDirNonDir")
    await stream_input(service, request, lambda fd: archives.put(name, path, fd, keeps_kinds))
    return empty(200)
