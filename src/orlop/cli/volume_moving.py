"""What a move of a volume would do, how far it is, and what came of it."""

from collections.abc import Mapping
from typing import Any

from orlop.cli.app import App
from orlop.cli.human import render_size
from orlop.cli.output import print_json, print_line, warn
from orlop.cli.volume_results import read_result
from orlop.client.api import quote

_MOST_TOLD = 10


def read_preview(app: App, volume: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return dict(app.api.post(f"/orlop/v1/volumes/{quote(volume)}/move", body=dict(body)))


def tell_preview(preview: Mapping[str, Any], output_format: str) -> None:
    if output_format == "json":
        print_json(preview)
        return
    volume = preview["Volume"]
    size = f", {render_size(preview['Bytes'])}" if preview["Bytes"] >= 0 else ""
    print_line(f"{volume['Name']}: from driver {volume['Driver']} to {preview['Driver']}{size}")
    for user in preview["Users"]:
        if user["Stop"]:
            print_line(f"  {user['Container']} would be stopped for a moment: {user['Stop']}")
        else:
            print_line(f"  {user['Container']} goes on")


def read_move(app: App, volume: str, body: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    """Move it, showing how far it is; the daemon's result."""

    def shown(message: Mapping[str, Any]) -> str:
        return f"moving {volume}: {render_progress(message)}"

    lost = "where the volume is, `orlop volume inspect` says"
    return read_result(app, f"/orlop/v1/volumes/{quote(volume)}/move", body, quiet, shown, lost)


def render_progress(message: Mapping[str, Any]) -> str:
    done = f"{message['Entries']} entries, {render_size(message['Bytes'])}"
    match message["Phase"]:
        case "copying":
            return f"pass {message['Pass']}: {done}"
        case "settling":
            return f"what was written last: {done}"
        case "comparing":
            return f"comparing: {done}"
        case "uploading":
            return f"uploading: {done} to go"
        case phase:
            return str(phase)


def tell_move(result: Mapping[str, Any], output_format: str, quiet: bool) -> int:
    """The volume's name, or all of it as JSON; on stderr, what is otherwise than one might think."""
    if output_format == "json":
        print_json(result)
        return 1 if result["Failures"] else 0
    print_line(result["Volume"]["Name"])
    for failure in result["Failures"]:
        warn(f"error: a container that was stopped for the move does not start: {failure}")
    if not quiet:
        _note(result)
    return 1 if result["Failures"] else 0


def _note(result: Mapping[str, Any]) -> None:
    if names := result["Restarted"]:
        warn(f"note: stopped for a moment and started again: {', '.join(names)}")
    if names := result["Live"]:
        warn(f"note: stood still for {result['StoodStillSeconds']:.1f} s: {', '.join(names)}")
    if what := result["Lost"]:
        warn(f"note: its storage cannot keep: {', '.join(what)}")
    if count := result["LeftOutCount"]:
        warn(f"note: {count} entries were not copied:")
        for left in result["LeftOut"][:_MOST_TOLD]:
            warn(f"  {left['Path']}: {left['Why']}")
        if count > _MOST_TOLD:
            warn(f"  and {count - _MOST_TOLD} more; --format json has them")
    if retired := result["Retired"]:
        name = result["Volume"]["Name"]
        warn(f"note: what it was is kept for a while: orlop volume restore {retired[:12]} --as {name}-before")
    else:
        warn("note: what it was is still kept by its driver: remove it there when you do not need it any more")
