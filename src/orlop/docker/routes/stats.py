"""/containers/{id}/stats"""

import asyncio

from orlop.docker.messages import BodyWriter, Reply, Request, Stream, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.usage_out import show_usage
from orlop.engine.usage import ContainerUsage, measure_usage
from orlop.errors import NoSuchContainer

routes = Routes()

SAMPLE_SECONDS = 1.0


@routes.get("/containers/{id}/stats")
async def stats(service: Service, request: Request) -> Reply:
    containers = service.engine.containers
    container_id = containers.get(request.parameters["id"]).id

    async def sample() -> ContainerUsage:
        container = containers.get(container_id)
        if not container.is_running:
            return ContainerUsage()
        return await service.quick(measure_usage, container.status.pid)

    if not request.flag("stream", default=True):
        before = ContainerUsage()
        if not request.flag("one-shot") and containers.get(container_id).is_running:
            before = await sample()
            await asyncio.sleep(SAMPLE_SECONDS)
        return json_response(show_usage(containers.get(container_id), await sample(), before, request.api))

    async def produce(writer: BodyWriter) -> None:
        before = ContainerUsage()
        while True:
            try:
                now = await sample()
                shown = show_usage(containers.get(container_id), now, before, request.api)
                await writer.write(json_response(shown).body)
            except NoSuchContainer:
                return  # removed meanwhile
            before = now
            await asyncio.sleep(SAMPLE_SECONDS)

    return Stream(200, "application/json", produce)
