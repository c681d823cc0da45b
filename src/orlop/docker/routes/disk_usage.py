"""/system/df"""

from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate import disk_usage_out as out
from orlop.docker.translate.container_out import summarise_container
from orlop.docker.translate.image_out import summarise_image
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.wire.volume import UsageData
from orlop.engine.disk_usage import DiskUsage
from orlop.errors import Malformed

routes = Routes()

KINDS = ("container", "image", "volume", "build-cache")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


@routes.get("/system/df")
async def disk_usage(service: Service, request: Request) -> Reply:
    kinds, form = _kinds(request), _form(request)
    usage = await service.long(service.engine.disk_usage.find, kinds)

    def render() -> Reply:  # in the pool as a whole: thousands of objects take a while to spell
        found = {
            "image": lambda: _images(service, request, usage),
            "container": lambda: _containers(service, request, usage),
            "volume": lambda: _volumes(service, usage),
            "build-cache": out.no_build_cache,
        }
        return json_response(out.show_disk_usage([found[kind]() for kind in KINDS if kind in kinds], form, request.api))

    return await service.quick(render)


def _kinds(request: Request) -> list[str]:
    """`type` may be given several times, since API 1.42."""
    kinds = request.texts("type") if request.api >= (1, 42) else []
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise Malformed("", f"unknown object type: {unknown[0]}")
    return kinds or list(KINDS)


def _form(request: Request) -> out.Form:
    """Since API 1.52 a client chooses between totals and all objects; one that says nothing gets what it used to get,
    and the totals."""
    text = request.text("verbose")
    if request.api < (1, 52):
        return out.Form.OLD
    if not text:
        return out.Form.BOTH
    if text not in (*_TRUE, *_FALSE):
        raise Malformed("", f"invalid value for verbose: {text}")
    return out.Form.VERBOSE if text in _TRUE else out.Form.TOTALS


def _images(service: Service, request: Request, usage: DiskUsage) -> out.Shown:
    images = service.engine.images
    summaries = {each.image.id: each for each in images.list_images({}, True)}
    shared = images.shared_bytes()
    items = [
        summarise_image(summaries[image_id], request.api, count, shared.get(image_id, 0))
        for image_id, _, count in usage.images
        if image_id in summaries
    ]
    return out.images(items, usage.layers_bytes)


def _containers(service: Service, request: Request, usage: DiskUsage) -> out.Shown:
    sizes = {container_id: (writable, whole) for container_id, writable, whole in usage.containers}
    found = [each for each in service.engine.containers.list_containers({}, True) if each.id in sizes]
    items = [summarise_container(each, request.api, sizes[each.id]) for each in found]
    return out.containers(items, [(sizes[each.id][0], each.is_running) for each in found])


def _volumes(service: Service, usage: DiskUsage) -> out.Shown:
    listed, _ = service.engine.volumes.list_volumes({})
    known = {name: UsageData(RefCount=count, Size=size) for name, size, count in usage.volumes}
    found = [each for each in listed if each.name in known]
    items = [show_volume(each, known[each.name]) for each in found]
    return out.volumes(items, [known[each.name] for each in found])
