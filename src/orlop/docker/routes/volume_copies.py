"""/orlop/v1/volumes: copies of volumes, and whole volumes as archives."""

import msgspec

from orlop.docker.consume import stream_input
from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.produce import stream_output
from orlop.docker.router import Routes
from orlop.docker.routes.container_files import TAR
from orlop.docker.service import Service
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.working import Work, reply_of
from orlop.engine.volume_archives import Imported, ImportWish
from orlop.engine.volume_copies import Changes, CopyResult
from orlop.errors import Malformed

routes = Routes()


class Copy(msgspec.Struct):
    """The body of a copy. Labels and options are added to those of the source."""

    Name: str = ""
    Driver: str = ""
    DriverOpts: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
    RemoveOptions: list[str] | None = None
    RemoveLabels: list[str] | None = None


@routes.post("/orlop/v1/volumes/{name}/copy")
async def copy(service: Service, request: Request) -> Reply:
    wish = await request.json(Copy)
    changes = Changes(
        wish.Driver, wish.DriverOpts or {}, wish.Labels or {}, wish.RemoveOptions or (), wish.RemoveLabels or ()
    )
    copies, source = service.engine.volumes.copies, request.parameters["name"]

    def show(result: CopyResult) -> dict[str, object]:
        return show_copy(result, [service.engine.volumes.describe_container(each) for each in result.holders])

    work: Work[CopyResult, tuple[int, int]] = Work(
        service, lambda tell: copies.copy(source, wish.Name, changes, lambda *done: tell(done))
    )

    def show_progress(done: tuple[int, int]) -> dict[str, object]:
        return {"Entries": done[0], "Bytes": done[1]}

    return await reply_of(work, request, show, show_progress, 201)


@routes.get("/orlop/v1/volumes/{name}/export")
async def export(service: Service, request: Request) -> Reply:
    archives, name = service.engine.volumes.archives, request.parameters["name"]
    return await stream_output(service, lambda out: archives.export(name, out), TAR)


@routes.post("/orlop/v1/volumes/import")
async def import_volume(service: Service, request: Request) -> Reply:
    wish = ImportWish(
        request.text("name"), request.text("driver"), _pairs(request.texts("opt")), _pairs(request.texts("label"))
    )
    archives = service.engine.volumes.archives
    found = await stream_input(service, request, lambda fd: archives.import_volume(wish, fd))
    return json_response(show_import(found), 201)


def _pairs(terms: list[str]) -> dict[str, str]:
    pairs = [term.partition("=") for term in terms]
    if any(not key for key, _, _ in pairs):
        raise Malformed("", "a label or option has no name", "Write it as KEY=VALUE")
    return {key: value for key, _, value in pairs}


def show_copy(result: CopyResult, users: list[str]) -> dict[str, object]:
    return {
        "Volume": show_volume(result.volume),
        "Entries": result.entries,
        "Bytes": result.size_bytes,
        "MissedCount": result.missed.count,
        "Missed": [{"Path": path, "Why": why} for path, why in result.missed.entries],
        "LostAttributes": sorted(result.missed.attributes),
        "LeftOutOptions": list(result.left_out),
        "Users": users,
    }


def show_import(found: Imported) -> dict[str, object]:
    return {
        "Volume": show_volume(found.volume),
        "Entries": found.arrived.members,
        "Bytes": found.arrived.size_bytes,
        "LostAttributes": list(found.arrived.lost_xattrs),
        "LeftOutOptions": list(found.left_out),
        "OmittedOptions": list(found.omitted),
    }
