"""What `orlop volume move --to` does: a volume of this host goes to another one."""

from collections.abc import Mapping
from typing import Any

from orlop.cli.app import App
from orlop.cli.human import render_size
from orlop.cli.output import print_json, print_line, warn
from orlop.cli.volume_results import read_result
from orlop.client.api import quote


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
    def shown(message: Mapping[str, Any]) -> str:
        size = render_size(message["Bytes"])
        return f"moving {volume}, {message['Step']}: {message['Entries']} entries, {size}"

    lost = "whether the volume was moved, `docker volume ls` says, here and there"
    return read_result(app, f"/orlop/v1/volumes/{quote(volume)}/send", body, quiet, shown, lost)
