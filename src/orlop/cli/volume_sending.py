"""What `orlop volume move --to` does: a volume of this host goes to another one."""

from typing import Any

from orlop.cli.app import App
from orlop.cli.human import render_size
from orlop.cli.output import print_json, print_line, warn
from orlop.cli.progress import Progress
from orlop.client.api import json_messages, quote
from orlop.client.errors import ApiError, Unreachable


def send(app: App, volume: str, node: str, stop: bool, output_format: str, quiet: bool) -> None:
    moved = _read(app, volume, {"Node": node, "Stop": stop}, quiet)
    if output_format == "json":
        print_json(moved)
        return
    what = f"{moved['Entries']} entries, {render_size(moved['Bytes'])} sent in {moved['Passes']} passes, verified"
    print_line(f"{volume}: on node {node} ({what})")
    if not moved["Arrived"]:
        warn(f"note: {node} has all of it, and has not said yet that it took it: what is here stays until it does")
    if quiet:
        return
    if names := moved["Containers"]:
        warn(f"note: left without it here, stopped: {', '.join(names)}")
    for path in moved["LeftOut"]:
        warn(f"note: left out, as no other host can have it: {path}")
    if moved["Arrived"]:
        warn(f"note: what was here can be had back for a while, as a volume of its own: orlop volume restore {volume}")


def _read(app: App, volume: str, body: dict[str, Any], quiet: bool) -> dict[str, Any]:
    response = app.api.stream("POST", f"/orlop/v1/volumes/{quote(volume)}/send", {"progress": True}, body)
    with Progress("", quiet=quiet) as progress:
        for message in json_messages(response):
            if "error" in message:
                raise ApiError(500, str(message["error"]))
            if "Result" in message:
                return dict(message["Result"])
            size = render_size(message["Bytes"])
            progress.show(f"moving {volume}, {message['Step']}: {message['Entries']} entries, {size}")
    why = "whether the volume was moved, `docker volume ls` says, here and there"
    raise Unreachable(f"the daemon broke the connection off: {why}")
