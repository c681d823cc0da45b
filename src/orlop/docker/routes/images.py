"""/images and /commit."""

import asyncio
from collections.abc import Iterator

from orlop.docker.filters import parse_filters
from orlop.docker.messages import BodyWriter, Reply, Request, Stream, empty, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service, finished
from orlop.docker.translate.image_out import inspect_image, show_history, summarise_image
from orlop.docker.translate.platform_in import wanted_platforms
from orlop.docker.wire import container as wire
from orlop.engine.images import ImageRemoval
from orlop.errors import Malformed, NotFound, Unsupported

routes = Routes()

TAR = "application/x-tar"


@routes.get("/images/json")
async def list_images(service: Service, request: Request) -> Reply:
    filters = dict(parse_filters(request))
    if pattern := request.text("filter"):  # the oldest spelling of the filter "reference"
        filters["reference"] = (*filters.get("reference", ()), pattern)
    found = await service.quick(service.engine.images.list_images, filters, request.flag("all"))
    shared = await service.quick(service.engine.images.shared_bytes) if request.flag("shared-size") else {}
    return json_response(
        [summarise_image(each, request.api, shared_bytes=shared.get(each.image.id, -1)) for each in found]
    )


@routes.get("/images/get")
async def save_many(service: Service, request: Request) -> Reply:
    names = request.texts("names")
    if not names:
        raise Malformed("", "no image names given", "docker save NAME [NAME...]")
    return await _save(service, request, names)


@routes.get("/images/search")
async def search(service: Service, request: Request) -> Reply:
    raise Unsupported("search", "registries are not supported yet", "Bring images in with docker load or docker import")


@routes.post("/images/load")
async def load_images(service: Service, request: Request) -> Reply:
    notes: list[str] = []
    platforms = wanted_platforms(request)
    async with service.spooled(request) as archive:
        loaded = await finished(service.long(service.engine.images.load, archive, notes.append, platforms))
    lines = [f"{note}\n" for note in notes]
    for each in loaded:
        lines += [f"Loaded image: {reference}\n" for reference in each.references]
        if not each.references:
            lines.append(f"Loaded image ID: {each.id}\n")
    return _progress([{"stream": line} for line in lines])


def _quiet(line: str) -> None:
    """Progress is not shown: by the time it could be, the body has been received and the rest is quick."""


def _progress(lines: list[dict[str, str]]) -> Reply:
    async def produce(writer: BodyWriter) -> None:
        for line in lines:
            await writer.write(json_response(line).body)

    return Stream(200, "application/json", produce)


@routes.post("/images/create")
async def create_image(service: Service, request: Request) -> Reply:
    if wanted := request.text("fromImage"):
        return _no_registry(wanted, request.text("tag"))
    source = request.text("fromSrc")
    if source != "-":
        raise Unsupported(f"import from {source or 'nothing'}", "only an archive sent with the request can be imported")
    reference = request.text("repo")
    if reference and (tag := request.text("tag")):
        reference = f"{reference}:{tag}"
    changes = [line for text in request.texts("changes") for line in text.splitlines()]
    images = service.engine.images
    async with service.spooled(request) as archive:
        if not request.body.received:
            raise Malformed("", "the archive to import is empty", "Send a tar: tar -C DIR -c . | docker import - NAME")
        image = await finished(
            service.long(
                images.import_archive,
                archive,
                reference,
                changes,
                request.text("message") or f"Imported from {source}",
                request.text("platform"),
                _quiet,
            )
        )
    return _progress([{"status": image.id}])


def _no_registry(image: str, tag: str) -> Reply:
    name = image if not tag else f"{image}@{tag}" if tag.startswith("sha256:") else f"{image}:{tag}"
    raise NotFound(
        "",
        f"pull access denied for {name}, repository does not exist: Orlop cannot pull from registries yet",
        "Bring the image in with: docker load -i FILE, or: docker import FILE NAME "
        "(skopeo copy docker://NAME docker-archive:FILE makes such a file)",
    )


@routes.post("/images/prune", since=(1, 25))
async def prune_images(service: Service, request: Request) -> Reply:
    removal, reclaimed = await service.long(service.engine.images.prune, parse_filters(request))
    return json_response({"ImagesDeleted": _removals(removal) or None, "SpaceReclaimed": reclaimed})


def _removals(removal: ImageRemoval) -> list[dict[str, str]]:
    untagged = [{"Untagged": reference} for reference in removal.untagged]
    return untagged + [{"Deleted": image_id} for image_id in removal.deleted]


@routes.get("/images/{name}/get")
async def save_one(service: Service, request: Request) -> Reply:
    return await _save(service, request, [request.parameters["name"]])


async def _save(service: Service, request: Request, names: list[str]) -> Reply:
    images = service.engine.images
    if platforms := wanted_platforms(request):
        for name in names:
            images.require_platform(name, platforms)
    pieces = await service.long(images.save, names)
    first = await service.long(next, pieces, b"")

    async def produce(writer: BodyWriter) -> None:
        try:
            data = first
            while data:
                await writer.write(data)
                data = await finished(service.long(_gather, pieces))
        finally:
            if close := getattr(pieces, "close", None):
                await asyncio.shield(service.long(close))

    return Stream(200, TAR, produce)


SAVE_BATCH_BYTES = 512 << 10


def _gather(pieces: Iterator[bytes]) -> bytes:
    """Small pieces together, so that each hop between threads is worth it."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= SAVE_BATCH_BYTES:
            break
    return b"".join(parts)


@routes.get("/images/{name}/json")
async def inspect(service: Service, request: Request) -> Reply:
    images = service.engine.images
    if request.api >= (1, 49) and (platforms := wanted_platforms(request)):
        if request.flag("manifests"):
            raise Malformed("", "conflicting options: manifests and platform options cannot both be set")
        images.require_platform(request.parameters["name"], platforms)
    image = images.resolve(request.parameters["name"])
    config, references = images.config(image), images.references(image.id)
    layer = await service.quick(images.describe, image)
    return json_response(inspect_image(image, config, references, service.layer_driver, layer, request.api))


@routes.get("/images/{name}/history")
async def history(service: Service, request: Request) -> Reply:
    if platforms := wanted_platforms(request):
        service.engine.images.require_platform(request.parameters["name"], platforms)
    found = await service.quick(service.engine.images.history, request.parameters["name"])
    return json_response([show_history(item) for item in found])


@routes.post("/images/{name}/tag")
async def tag(service: Service, request: Request) -> Reply:
    repository = request.text("repo")
    if not repository:
        raise Malformed("", "repository name must have at least one component", "docker tag IMAGE NAME[:TAG]")
    await service.quick(service.engine.images.tag, request.parameters["name"], repository, request.text("tag"))
    return empty(201)


@routes.post("/images/{name}/push")
async def push(service: Service, request: Request) -> Reply:
    raise Unsupported("push", "registries are not supported yet", "docker save writes an archive that skopeo can push")


@routes.delete("/images/{name}")
async def remove_image(service: Service, request: Request) -> Reply:
    name, force, prune = request.parameters["name"], request.flag("force"), not request.flag("noprune")
    if request.api >= (1, 50) and (platforms := wanted_platforms(request, "platforms")):
        service.engine.images.require_platform(name, platforms)
    return json_response(_removals(await service.long(service.engine.images.remove, name, force, prune)))


@routes.post("/commit")
async def commit(service: Service, request: Request) -> Reply:
    await request.json(wire.Config)  # clients send the container's own configuration back, or nothing
    repository, tag_name = request.text("repo"), request.text("tag")
    reference = f"{repository}:{tag_name}" if repository and tag_name else repository
    changes = [line for text in request.texts("changes") for line in text.splitlines()]
    image = await service.long(
        service.engine.containers.commit,
        request.text("container"),
        reference,
        request.text("comment"),
        request.text("author"),
        request.flag("pause", default=True),
        changes,
    )
    return json_response({"Id": image.id}, 201)
