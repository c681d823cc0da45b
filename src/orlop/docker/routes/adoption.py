"""/orlop/v1/adopt: volumes of Docker's or Podman's data root taken over. Answers a stream of JSON objects, one a line:
{"Progress": ...} while bytes are copied, {"Volume": ...} for each volume when it is done."""

import time
from typing import BinaryIO

import msgspec

from orlop.docker.messages import Reply, Request
from orlop.docker.produce import stream_output
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.wire.times import render_time
from orlop.engine.adoption_rules import Action, AdoptionWish
from orlop.engine.volume_adoption import Adoption
from orlop.errors import Malformed
from orlop.model.volume import hide_secrets

routes = Routes()

_PROGRESS_SECONDS = 0.2


class Adopt(msgspec.Struct):
    Root: str = ""
    Names: list[str] = []
    Copy: bool = False
    DryRun: bool = False
    Force: bool = False
    As: dict[str, str] = {}


def show_adoption(found: Adoption, dry_run: bool) -> dict[str, object]:
    decision, volume = found.decision, found.decision.volume
    return {
        "Name": volume.name,
        "NewName": decision.name,
        "Engine": found.engine,
        "Driver": volume.driver,
        "CreatedAt": render_time(volume.created_at_ns) if volume.created_at_ns else "",
        "Labels": None if volume.labels is None else dict(volume.labels),
        "Options": None if decision.options is None else hide_secrets(decision.options),
        "Anonymous": volume.is_anonymous,
        "Containers": list(volume.containers),
        "Action": decision.action,
        "Done": found.is_taken and not dry_run,
        "Reason": found.failure or decision.why,
        "Hint": "" if found.failure else decision.hint,
        "Notes": list(decision.notes),
        "Entries": found.entries,
        "SizeBytes": found.size_bytes,
    }


@routes.post("/orlop/v1/adopt")
async def adopt(service: Service, request: Request) -> Reply:
    wish = await request.json(Adopt)
    if not wish.Root:
        raise Malformed("adopt", "no data root is given", 'For example {"Root": "/var/lib/docker"}')
    engine_wish = AdoptionWish(wish.Names, wish.Copy, wish.Force, wish.DryRun, wish.As)

    def work(out: BinaryIO) -> None:
        shown = 0.0

        def say(kind: str, value: dict[str, object]) -> None:
            out.write(msgspec.json.encode({kind: value}) + b"\n")

        def progress(name: str, entries: int, size_bytes: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _PROGRESS_SECONDS:
                shown = time.monotonic()
                say("Progress", {"Name": name, "Entries": entries, "SizeBytes": size_bytes})

        def report(found: Adoption) -> None:
            if found.decision.action is not Action.LEAVE:
                say("Volume", show_adoption(found, wish.DryRun))

        service.engine.volumes.adoption.adopt(wish.Root, engine_wish, report, progress)

    return await stream_output(service, work, "application/json")
