"""/orlop/v1/volumes/{name}/move: a volume to other storage."""

from collections.abc import Callable, Sequence

import msgspec

from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.translate.volume_out import show_volume
from orlop.docker.working import Work, reply_of
from orlop.engine.volume_move_terms import MovePreview, MoveProgress, MoveResult, MoveWish, parse_losses
from orlop.errors import Malformed

routes = Routes()

_Name = Callable[[str], str]


class Move(msgspec.Struct):
    """The body of a move. Labels are added to those of the volume."""

    Driver: str = ""
    DriverOpts: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
    Stop: bool = False
    Lose: list[str] | None = None
    DryRun: bool = False


@routes.post("/orlop/v1/volumes/{name}/move")
async def move(service: Service, request: Request) -> Reply:
    body = await request.json(Move)
    if not body.Driver:
        raise Malformed("", "where to move the volume is not said", "Give the Driver")
    lose = parse_losses(body.Lose or ())
    wish = MoveWish(body.Driver, body.DriverOpts or {}, body.Labels or {}, body.Stop, lose)
    moves, name = service.engine.volumes.moves, request.parameters["name"]
    describe = service.engine.volumes.describe_container
    if body.DryRun:
        return json_response(show_preview(await service.long(moves.preview, name, wish), describe))
    work: Work[MoveResult, MoveProgress] = Work(service, lambda tell: moves.move(name, wish, tell))
    return await reply_of(work, request, lambda result: show_move(result, describe), show_progress, 200)


def show_progress(done: MoveProgress) -> dict[str, object]:
    return {"Phase": done.phase, "Pass": done.pass_number, "Entries": done.entries, "Bytes": done.size_bytes}


def show_preview(preview: MovePreview, describe: _Name) -> dict[str, object]:
    return {
        "Volume": show_volume(preview.volume),
        "Driver": preview.to,
        "Bytes": preview.size_bytes,
        "Users": [{"Container": describe(user.container_id), "Stop": user.why_stopped} for user in preview.users],
    }


def show_move(result: MoveResult, describe: _Name) -> dict[str, object]:
    def names(ids: Sequence[str]) -> list[str]:
        return [describe(each) for each in ids]

    return {
        "Volume": show_volume(result.volume),
        "Retired": result.retired.id if result.retired else "",
        "Passes": result.passes,
        "Entries": result.entries,
        "Bytes": result.sent_bytes,
        "LeftOut": [{"Path": path, "Why": why} for path, why in result.left_out],
        "LeftOutCount": result.left_out_count,
        "Lost": list(result.lost),
        "StoodStillSeconds": round(result.stood_still_seconds, 3),
        "Live": names(result.live),
        "Restarted": names(result.restarted),
        "Failures": list(result.failures),
    }
