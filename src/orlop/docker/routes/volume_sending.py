"""/orlop/v1/volumes/{name}/send: a volume of this host goes to another one of its cluster."""

from collections.abc import Callable

import msgspec

from orlop.docker.messages import Reply, Request
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.working import Work, reply_of
from orlop.engine.volume_departure_end import Moved
from orlop.errors import Malformed

routes = Routes()

_Done = tuple[str, int, int]  # the step, entries and bytes of it


class Sending(msgspec.Struct):
    """The body."""

    Node: str = ""
    Stop: bool = False


@routes.post("/orlop/v1/volumes/{name}/send")
async def send(service: Service, request: Request) -> Reply:
    wish = await request.json(Sending)
    departures, name = service.engine.volumes.node_moves.departures, request.parameters["name"]
    if not wish.Node:
        raise Malformed(f"move volume {name}", "no node is named", "Look at: orlop node ls")

    def call(progress: Callable[[_Done], None]) -> Moved:
        return departures.move(name, wish.Node, wish.Stop, lambda *done: progress(done))

    work: Work[Moved, _Done] = Work(service, call)

    def show_progress(done: _Done) -> dict[str, object]:
        step, entries, size = done
        return {"Step": step, "Entries": entries, "Bytes": size}

    return await reply_of(work, request, show_moved, show_progress, 200)


def show_moved(moved: Moved) -> dict[str, object]:
    return {
        "Volume": show_volume(moved.volume),
        "Node": moved.node,
        "Entries": moved.entries,
        "Bytes": moved.sent_bytes,
        "Passes": moved.passes,
        "LeftOut": list(moved.left_out),
        "Containers": list(moved.containers),
        "Arrived": moved.has_arrived,
    }
