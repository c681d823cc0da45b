"""/containers: files in and out, differences, export."""

import base64
import stat

import msgspec

from orlop.docker.messages import Reply, Request, Response, empty, json_response
from orlop.docker.produce import stream_output
from orlop.docker.router import Routes
from orlop.docker.service import Service, finished
from orlop.engine.archive_work import PathStat
from orlop.errors import Malformed
from orlop.model.timestamp import render_timestamp

routes = Routes()

TAR = "application/x-tar"
STAT_HEADER = "X-Docker-Container-Path-Stat"

# Bits of a file's mode as Go numbers them.
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


@routes.get("/containers/{id}/changes")
async def changes(service: Service, request: Request) -> Reply:
    found = await service.long(service.engine.containers.changes, request.parameters["id"])
    return json_response([{"Path": change.path, "Kind": change.kind} for change in found])


@routes.get("/containers/{id}/export")
async def export(service: Service, request: Request) -> Reply:
    container = service.engine.containers.get(request.parameters["id"])
    return await stream_output(service, lambda out: service.engine.containers.export(container.id, out), TAR)


def _path(request: Request) -> str:
    path = request.text("path")
    if not path:
        raise Malformed("", "bad parameter: path cannot be empty")
    return path


@routes.head("/containers/{id}/archive")
async def stat_path(service: Service, request: Request) -> Reply:
    found = await service.long(service.engine.archives.stat, request.parameters["id"], _path(request))
    return Response(200, headers={STAT_HEADER: render_path_stat(found)})


@routes.get("/containers/{id}/archive")
async def get_archive(service: Service, request: Request) -> Reply:
    archives, reference, path = service.engine.archives, request.parameters["id"], _path(request)
    headers: dict[str, str] = {}

    def tell(found: PathStat) -> None:
        headers[STAT_HEADER] = render_path_stat(found)

    return await stream_output(service, lambda out: archives.get(reference, path, out, tell), TAR, headers)


@routes.put("/containers/{id}/archive")
async def put_archive(service: Service, request: Request) -> Reply:
    path = _path(request)
    reference = request.parameters["id"]
    service.engine.containers.get(reference)  # an unknown one is refused before the upload
    async with service.spooled(request) as archive:
        await finished(
            service.long(
                service.engine.archives.put,
                reference,
                path,
                archive,
                request.flag("noOverwriteDirNonDir"),
                request.flag("copyUIDGID"),
            )
        )
    return empty(200)


def render_path_stat(found: PathStat) -> str:
    shown = {
        "name": found.name,
        "size": found.size_bytes,
        "mode": go_mode(found.mode),
        "mtime": render_timestamp(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(msgspec.json.encode(shown)).decode()


def go_mode(mode: int) -> int:
    """stat(2)'s mode as Go's FileMode."""
    bits = sum(go for bit, go in _GO_BITS.items() if mode & bit)
    return (mode & 0o777) | _GO_TYPES.get(stat.S_IFMT(mode), 0) | bits
