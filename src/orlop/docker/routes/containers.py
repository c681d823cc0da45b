"""/containers: the life cycle."""

import contextlib
from collections.abc import Awaitable, Iterator

from orlop.docker.filters import parse_filters
from orlop.docker.messages import ApiVersion, Reply, Request, empty, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.container_in import container_wish
from orlop.docker.translate.container_out import inspect_container, summarise_container
from orlop.docker.translate.update_in import apply_update
from orlop.docker.wire import container as wire
from orlop.errors import Forbidden, Malformed, NoSuchContainer, NoSuchImage, NoSuchPart, NotFound, Unsupported
from orlop.model.container import Container

routes = Routes()


@routes.get("/containers/json")
async def list_containers(service: Service, request: Request) -> Reply:
    filters = parse_filters(request)
    limit = request.number("limit")
    all_containers = request.flag("all") or limit > 0 or bool({"status", "exited"} & set(filters))
    containers = service.engine.containers
    sized = request.flag("size")

    def listing() -> Reply:  # in the pool as a whole: many containers take a while to spell
        found = containers.list_containers(filters, all_containers, max(limit, 0))
        return json_response(
            [
                summarise_container(container, request.api, containers.size_bytes(container) if sized else None)
                for container in found
            ]
        )

    return await (service.long(listing) if sized else service.quick(listing))


@routes.post("/containers/create")
async def create_container(service: Service, request: Request) -> Reply:
    body = await request.json(wire.ContainerCreate)
    platform = request.text("platform")
    if platform and not platform.startswith("linux"):
        raise NotFound("", f"platform {platform} is not supported by this host", "Leave --platform out")
    wish, warnings = container_wish(body, request.text("name"), request.api, service.runtime)
    try:
        container, more = await service.quick(service.engine.containers.create, wish)
    except NoSuchImage as error:
        # The client pulls when the text begins so; `docker run` then shows what the pull says.
        raise NotFound("", f"No such image: {_with_tag(error.why)}") from error
    return json_response({"Id": container.id, "Warnings": [*warnings, *more]}, 201)


def _with_tag(reference: str) -> str:
    last = reference.rpartition("/")[2]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


@routes.post("/containers/prune", since=(1, 25))
async def prune_containers(service: Service, request: Request) -> Reply:
    report = await service.long(service.engine.containers.prune, parse_filters(request))
    return json_response({"ContainersDeleted": list(report.removed) or None, "SpaceReclaimed": report.reclaimed_bytes})


@routes.get("/containers/{id}/json")
def inspect(service: Service, request: Request) -> Reply | Awaitable[Reply]:
    container = service.engine.containers.get(request.parameters["id"])
    if request.flag("size"):
        return _inspect_with_size(service, container, request.api)
    return json_response(_shown(service, container, request.api, None))


async def _inspect_with_size(service: Service, container: Container, api: ApiVersion) -> Reply:
    size = await service.long(service.engine.containers.size_bytes, container)
    return json_response(_shown(service, container, api, size))


def _shown(service: Service, container: Container, api: ApiVersion, size: tuple[int, int] | None) -> object:
    engine = service.engine
    exec_ids = engine.sessions.exec_ids(container.id)
    layer = service.layer_facts(container)
    return inspect_container(container, engine.data_root, service.layer_driver, api, exec_ids, layer, size)


@routes.post("/containers/{id}/start")
async def start(service: Service, request: Request) -> Reply:
    if request.text("checkpoint"):
        raise Unsupported("checkpoint", "starting from a checkpoint is not supported")
    with _start_faults():
        started = await service.quick(service.engine.containers.start, request.parameters["id"])
    return empty(204 if started else 304)


@contextlib.contextmanager
def _start_faults() -> Iterator[None]:
    """A program that is not in the container is the request's fault: 404 would tell clients that the container is
    missing."""
    try:
        yield
    except (NoSuchContainer, NoSuchPart):
        raise
    except (NotFound, Forbidden) as error:
        raise Malformed(error.subject, error.why, error.hint) from error


def _timeout(request: Request) -> int | None:
    text = request.text("t")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise Malformed("", f"invalid timeout: {text!r} is not a whole number of seconds") from error


@routes.post("/containers/{id}/stop")
async def stop(service: Service, request: Request) -> Reply:
    signal = request.text("signal") if request.api >= (1, 42) else ""
    stopped = await service.long(service.engine.containers.stop, request.parameters["id"], _timeout(request), signal)
    return empty(204 if stopped else 304)


@routes.post("/containers/{id}/restart")
async def restart(service: Service, request: Request) -> Reply:
    signal = request.text("signal") if request.api >= (1, 42) else ""
    with _start_faults():
        await service.long(service.engine.containers.restart, request.parameters["id"], _timeout(request), signal)
    return empty()


@routes.post("/containers/{id}/kill")
async def kill(service: Service, request: Request) -> Reply:
    await service.quick(service.engine.containers.kill, request.parameters["id"], request.text("signal"))
    return empty()


@routes.post("/containers/{id}/pause")
async def pause(service: Service, request: Request) -> Reply:
    await service.quick(service.engine.containers.pause, request.parameters["id"])
    return empty()


@routes.post("/containers/{id}/unpause")
async def unpause(service: Service, request: Request) -> Reply:
    await service.quick(service.engine.containers.unpause, request.parameters["id"])
    return empty()


@routes.post("/containers/{id}/rename")
async def rename(service: Service, request: Request) -> Reply:
    new_name = request.text("name").removeprefix("/")
    if not new_name:
        raise Malformed("", "Neither old nor new names may be empty")
    await service.quick(service.engine.containers.rename, request.parameters["id"], new_name)
    return empty()


@routes.post("/containers/{id}/update")
async def update(service: Service, request: Request) -> Reply:
    wanted = await request.json(wire.HostConfig)
    reference = request.parameters["id"]
    await service.quick(service.engine.containers.update, reference, lambda container: apply_update(container, wanted))
    return json_response({"Warnings": None})


@routes.get("/containers/{id}/top")
async def top(service: Service, request: Request) -> Reply:
    arguments = request.text("ps_args") or "-ef"
    titles, rows = await service.quick(service.engine.containers.top, request.parameters["id"], arguments)
    return json_response({"Processes": [list(row) for row in rows], "Titles": list(titles)})


@routes.delete("/containers/{id}")
async def remove(service: Service, request: Request) -> Reply:
    if request.flag("link"):
        raise Unsupported("links", "are not supported")
    await service.long(
        service.engine.containers.remove,
        request.parameters["id"],
        force=request.flag("force"),
        remove_volumes=request.flag("v"),
    )
    return empty()
