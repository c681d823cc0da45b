"""/volumes"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from orlop.docker.asking import answered
from orlop.docker.filters import parse_filters
from orlop.docker.messages import Reply, Request, empty, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.translate.volume_report_out import inspect_volume
from orlop.docker.wire import volume as wire
from orlop.drivers.volumes.abilities import Question
from orlop.drivers.volumes.driver import StoredVolume
from orlop.engine.volume_others import LISTING_SECONDS, Asked, OthersVolumes
from orlop.errors import Malformed, NoSuchVolume, Unavailable
from orlop.model.filters import Filters, parse_bool
from orlop.model.volume import Volume

routes = Routes()

_FEW = 100  # volumes
_ALL = "volumes"

_NO_SWARM = "volume update only valid for cluster volumes, but swarm is unavailable"


@routes.get("/volumes")
def list_volumes(service: Service, request: Request) -> Reply | Awaitable[Reply]:
    filters = parse_filters(request, "error reading volume filters: invalid filter") if request.query_text else {}
    volumes_here = service.engine.volumes
    if not filters and (kept := service.listings.find(_ALL, volumes_here.version)) is not None:
        return kept

    def listing() -> Reply:
        version = volumes_here.version  # of before: what changes meanwhile makes the next one look again
        volumes, warnings = volumes_here.list_known(filters)
        spelt = wire.VolumeList([show_volume(volume) for volume in volumes], list(warnings) or None)
        reply = json_response(spelt)
        return reply if filters or version is None else service.listings.keep(_ALL, version, reply)

    # Thousands take a while to spell, and a pattern may take as long as its author likes: those go to the pool. The way
    # there and back takes longer than spelling a few.
    takes_long = bool(filters) or volumes_here.count > _FEW or volumes_here.shared.cluster is not None
    if volumes_here.others.are_there:
        return _listed_with_others(service, volumes_here.others, listing, takes_long)
    return service.quick(listing) if takes_long else listing()


async def _listed_with_others(
    service: Service, others: OthersVolumes, listing: Callable[[], Reply], takes_long: bool
) -> Reply:
    await _refreshed(service, others)
    return await service.quick(listing) if takes_long else listing()


async def _refreshed(service: Service, others: OthersVolumes) -> None:
    """As `refresh` does it, with answers waited for by the loop; nobody waits longer than `LISTING_SECONDS`."""
    asked, rest = others.ask_all()
    waited_for: list[asyncio.Future[Any]] = [service.quick(others.list_of, name, driver) for name, driver in rest]
    looking: list[asyncio.Future[Any]] = []

    def take(it: Asked, _: object) -> None:
        name, driver, question = it
        if not others.take(name, question):
            looking.append(service.quick(others.list_of, name, driver))

    for each in asked:
        ended = answered(each[2])
        ended.add_done_callback(partial(take, each))  # also when nobody waits any more
        waited_for.append(ended)
    if waited_for:
        await asyncio.wait(waited_for, timeout=LISTING_SECONDS)
    if looking:
        await asyncio.wait(looking, timeout=LISTING_SECONDS)


@routes.post("/volumes/create")
async def create_volume(service: Service, request: Request) -> Reply:
    wish = await request.json(wire.VolumeCreate)
    if wish.ClusterVolumeSpec is not None and request.api >= (1, 42):
        raise Unavailable("", _NO_SWARM)
    create = service.engine.volumes.create
    return json_response(
        show_volume(await service.quick(create, wish.Name, wish.Driver, wish.DriverOpts, wish.Labels)), 201
    )


@routes.post("/volumes/prune", since=(1, 25))
async def prune_volumes(service: Service, request: Request) -> Reply:
    filters = dict(parse_filters(request))
    include_named = request.api < (1, 42) or _asks_for_all(filters)
    filters.pop("all", None)
    report = await service.long(service.engine.volumes.prune, filters, include_named)
    return json_response(wire.VolumesPruned(list(report.removed), report.reclaimed_bytes))


def _asks_for_all(filters: Filters) -> bool:
    values = filters.get("all", ())
    if len(values) > 1:
        raise Malformed("", f"invalid filter 'all=[{' '.join(values)}]': only one value is expected")
    return bool(values) and parse_bool(values[0], "all")


@routes.get("/volumes/{name}")
def inspect(service: Service, request: Request) -> Reply | Awaitable[Reply]:
    """From memory, when the volume was looked at on the disk a moment ago: many clients poll a few volumes."""
    reports, name = service.engine.volume_reports, request.parameters["name"]
    try:
        volume = service.engine.volumes.get(name)
    except NoSuchVolume:
        if not service.engine.volumes.are_elsewhere_too:
            raise
        return service.quick(lambda: _inspected(service, reports.look_at(service.engine.volumes.meet(name))))
    if reports.was_looked_at(volume):
        return _inspected(service, volume)
    question = reports.ask(volume)
    if question is not None:
        return _told(service, volume, question)
    return _looked_at(service, volume, name)


async def _looked_at(service: Service, volume: Volume, name: str) -> Reply:
    """One look is enough for all who ask while it lasts: on storage that hangs each would have a thread for itself."""
    looking = service.looks.get(volume.id)
    if looking is None:
        looking = service.looks[volume.id] = service.quick(service.engine.volume_reports.look_at, volume)

        def end(ended: "asyncio.Future[Volume]") -> None:
            del service.looks[volume.id]
            ended.cancelled() or ended.exception()  # told here if nobody waits any more

        looking.add_done_callback(end)
    await asyncio.shield(looking)
    return _inspected(service, service.engine.volumes.get(name))


async def _told(service: Service, volume: Volume, question: Question[StoredVolume]) -> Reply:
    """Waited for by the loop that waits for everything: a thread for it would cost more than the question."""
    reports = service.engine.volume_reports
    await answered(question)
    looked_at = reports.told(volume, question)
    if looked_at is None:
        return await _looked_at(service, volume, volume.name)
    return _inspected(service, looked_at)


def _inspected(service: Service, volume: Volume) -> Reply:
    reports = service.engine.volume_reports
    report = reports.of(volume)
    if not report.is_current:
        reports.want(volume)
    if (kept := service.inspects.find(volume.name, report)) is not None:
        return kept
    reply = json_response(inspect_volume(report))
    # What a plugin says may be any JSON, in which 1 and true are equal and spelt differently.
    return reply if report.told else service.inspects.keep(volume.name, report, reply)


@routes.put("/volumes/{name}", since=(1, 42))
async def update_volume(service: Service, request: Request) -> Reply:
    """Docker's call is for volumes of a cluster alone; ours changes any. Docker's own `Spec` needs the cluster."""
    wish = await request.json(wire.VolumeUpdate)
    if wish.Spec is not None or (wish.Labels is None and wish.DriverOpts is None):
        raise Unavailable("", _NO_SWARM)
    _check_version(request.text("version"))
    update = service.engine.volumes.update
    volume = await service.long(update, request.parameters["name"], wish.Labels, wish.DriverOpts)
    return json_response(inspect_volume(service.engine.volume_reports.of(volume)))


def _check_version(text: str) -> None:
    """Docker's clients send which version of the object they change; a volume here has only one."""
    if text and not (text.isascii() and text.isdigit() and int(text) < 1 << 64):
        why = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
        raise Malformed("", f"invalid swarm object version '{text}': strconv.ParseUint: parsing \"{text}\": {why}")


@routes.delete("/volumes/{name}")
async def remove_volume(service: Service, request: Request) -> Reply:
    await service.quick(service.engine.volumes.remove, request.parameters["name"], force=request.flag("force"))
    return empty()
