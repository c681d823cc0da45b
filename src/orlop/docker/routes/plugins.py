"""/plugins: managed plugins."""

import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from orlop.docker.filters import parse_filters
from orlop.docker.messages import MAX_JSON_BYTES, Reply, Request, empty, json_response
from orlop.docker.produce import stream_output
from orlop.docker.router import Routes
from orlop.docker.service import Service, finished
from orlop.docker.translate.plugin_out import read_credentials, read_privileges, show_plugin, show_privileges
from orlop.docker.wire.decoding import decode_json
from orlop.docker.wire.managed_plugin import Privilege as WirePrivilege
from orlop.drivers.registries.driver import Credentials
from orlop.engine.plugin_transfer import Report
from orlop.errors import Malformed, OrlopError
from orlop.model.plugin import Privilege

routes = Routes()


@routes.get("/plugins")
def list_plugins(service: Service, request: Request) -> Reply:
    found = service.engine.plugins.list_plugins(parse_filters(request))
    return json_response([show_plugin(each, request.api) for each in found])


@routes.get("/plugins/{name}/json")
def inspect_plugin(service: Service, request: Request) -> Reply:
    return json_response(show_plugin(service.engine.plugins.find(request.parameters["name"]), request.api))


@routes.get("/plugins/privileges")
async def privileges(service: Service, request: Request) -> Reply:
    found = await service.long(service.engine.plugins.privileges, _remote(request), _credentials(request))
    return json_response(show_privileges(found))


@routes.post("/plugins/create")
async def create(service: Service, request: Request) -> Reply:
    async with service.spooled(request) as archive:
        await finished(service.long(service.engine.plugins.create, request.text("name"), archive))
    return empty()


@routes.post("/plugins/pull")
async def pull(service: Service, request: Request) -> Reply:
    plugins, credentials = service.engine.plugins, _credentials(request)
    remote, granted = _remote(request), await _granted(request)
    name = plugins.pull_name(remote, request.text("name"))
    offer = await service.long(plugins.offer, remote, granted, credentials)
    return await _stream(
        service, {"Docker-Plugin-Name": name}, lambda tell: plugins.pull(offer, name, credentials, tell)
    )


@routes.post("/plugins/{name}/enable")
async def enable(service: Service, request: Request) -> Reply:
    await service.long(service.engine.plugins.enable, request.parameters["name"], request.number("timeout"))
    return empty(200)


@routes.post("/plugins/{name}/disable")
async def disable(service: Service, request: Request) -> Reply:
    await service.long(service.engine.plugins.disable, request.parameters["name"], request.flag("force"))
    return empty(200)


@routes.post("/plugins/{name}/set")
async def change_settings(service: Service, request: Request) -> Reply:
    wishes = await _json_list(request, str)
    await service.quick(service.engine.plugins.change_settings, request.parameters["name"], wishes)
    return empty()


@routes.post("/plugins/{name}/upgrade", since=(1, 26))
async def upgrade(service: Service, request: Request) -> Reply:
    plugins, credentials = service.engine.plugins, _credentials(request)
    granted = await _granted(request)
    plugin = plugins.find(request.parameters["name"])
    plugins.require_disabled(plugin)
    offer = await service.long(plugins.offer, _remote(request), granted, credentials)
    headers = {"Docker-Plugin-Name": plugin.name}
    return await _stream(service, headers, lambda tell: plugins.upgrade(plugin.id, offer, credentials, tell))


@routes.post("/plugins/{name}/push")
async def push(service: Service, request: Request) -> Reply:
    plugins, credentials = service.engine.plugins, _credentials(request)
    plugin = plugins.find(request.parameters["name"])

    def run(tell: Report) -> dict[str, Any]:
        tag, digest, size = plugins.push(plugin.id, credentials, tell)
        tell("", f"{tag}: digest: {digest} size: {size}", 0, 0)
        return {"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": size}}

    return await _stream(service, {}, run)


@routes.delete("/plugins/{name}")
async def remove(service: Service, request: Request) -> Reply:
    await service.long(service.engine.plugins.remove, request.parameters["name"], request.flag("force"))
    return empty(200)


def _remote(request: Request) -> str:
    remote = request.text("remote")
    if not remote:
        raise Malformed("", "invalid reference format", "Say which plugin: remote=NAME[:TAG]")
    return remote


def _credentials(request: Request) -> Credentials:
    return read_credentials(request.headers.get("x-registry-auth", ""))


async def _granted(request: Request) -> list[Privilege]:
    return read_privileges(await _json_list(request, WirePrivilege))


async def _json_list(request: Request, kind: Any) -> list[Any]:
    raw = await request.body.read_all(MAX_JSON_BYTES)
    if not raw:
        return []
    return decode_json(raw, list[kind])


async def _stream(service: Service, headers: dict[str, str], run: Callable[[Report], object]) -> Reply:
    """Progress as lines of JSON. What goes wrong before the first line is an answer of its own, as with Docker."""

    def write(out: BinaryIO) -> None:
        told = False
        lock = threading.Lock()

        def line(document: Any) -> None:
            nonlocal told
            with lock:
                told = True
                out.write(json_response(document).body)

        def tell(subject: str, status: str, done: int, total: int) -> None:
            document: dict[str, Any] = {"status": status}
            if total:
                document["progressDetail"] = {"current": done, "total": total}
            elif subject:
                document["progressDetail"] = {}
            line({**document, "id": subject} if subject else document)

        try:
            last = run(tell)
            if isinstance(last, dict):
                line(last)
        except OrlopError as error:
            if not told:
                raise
            line({"errorDetail": {"message": error.message}, "error": error.message})

    return await stream_output(service, write, "application/json", headers)
