"""/orlop/v1/volumes: what there is to know about volumes, and what a removal would take."""

import asyncio

import msgspec

from orlop.docker.filters import parse_filters
from orlop.docker.messages import BodyWriter, Reply, Request, Stream, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service, finished
from orlop.docker.translate.volume_report_out import show_departure, show_report, show_tree
from orlop.engine.tree_usage import TreeUsage
from orlop.errors import Malformed, OrlopError
from orlop.model.filters import Filters

routes = Routes()

MOST_WAIT_SECONDS = 30
DEEPEST = 64
_TELL_SECONDS = 0.5


class PreviewRequest(msgspec.Struct):
    """Either names, as for a removal, or the filters of a prune."""

    Names: list[str] | None = None
    Prune: dict[str, list[str]] | None = None
    All: bool = False


def _wait_seconds(request: Request) -> int:
    seconds = request.number("wait")
    if not 0 <= seconds <= MOST_WAIT_SECONDS:
        raise Malformed("", f"invalid value for wait: {seconds} is not between 0 and {MOST_WAIT_SECONDS}")
    return seconds


@routes.get("/orlop/v1/volumes")
async def list_volumes(service: Service, request: Request) -> Reply:
    filters, seconds, sized = parse_filters(request), _wait_seconds(request), request.flag("size")

    def listing() -> Reply:
        reports = service.engine.volume_reports
        if sized:
            found = reports.list_reports(filters, seconds)
        else:
            found = [reports.of(volume) for volume in service.engine.volumes.list_volumes(filters)[0]]
        return json_response({"Volumes": [show_report(report) for report in found]})

    return await (service.long(listing) if sized else service.quick(listing))


@routes.post("/orlop/v1/volumes/preview")
async def preview(service: Service, request: Request) -> Reply:
    wish, seconds = await request.json(PreviewRequest), _wait_seconds(request)
    previews = service.engine.volume_previews
    if wish.Names is None and wish.Prune is None:
        raise Malformed("", "neither Names nor Prune is given", 'Send {"Names": [...]} or {"Prune": {filters}}')
    if wish.Names is not None:
        found = await service.long(previews.of_removal, wish.Names, seconds)
    else:
        filters: Filters = {key: tuple(values) for key, values in (wish.Prune or {}).items()}
        found = await service.long(previews.of_prune, filters, wish.All, seconds)
    return json_response({"Volumes": [show_departure(departure) for departure in found]})


@routes.get("/orlop/v1/volumes/{name}/usage")
async def tree_usage(service: Service, request: Request) -> Reply:
    name, path, depth = request.parameters["name"], request.text("path"), request.number("depth", 1)
    if not 0 <= depth <= DEEPEST:
        raise Malformed("", f"invalid value for depth: {depth} is not between 0 and {DEEPEST}")
    service.engine.volumes.get(name)
    latest, is_wanted = TreeUsage(""), True

    def told(so_far: TreeUsage) -> bool:
        nonlocal latest
        latest = so_far
        return is_wanted

    walking = service.long(service.engine.volume_trees.measure, name, path, depth, told)
    if not request.flag("progress"):
        found, left_out = await walking
        return json_response(show_tree(name, path, found, left_out))

    async def produce(writer: BodyWriter) -> None:
        nonlocal is_wanted
        try:
            while not (await asyncio.wait([walking], timeout=_TELL_SECONDS))[0]:
                counted = {"Entries": latest.entries, "SizeBytes": latest.size_bytes}
                await writer.write(json_response({"Progress": counted}).body)
            found, left_out = await finished(walking)
            await writer.write(json_response({"Usage": show_tree(name, path, found, left_out)}).body)
        except OrlopError as error:
            await writer.write(json_response({"Error": error.message}).body)
        finally:
            is_wanted = False

    return Stream(200, "application/x-ndjson", produce)
