"""`orlop events`."""

import json
import sys
from datetime import datetime
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.output import filter_option, format_option, parse_filters
from orlop.client.api import json_messages, render_filters


@declare(
    examples=[
        ("orlop events", "until ctrl-c"),
        ("orlop events --since 1h --until 0s --filter type=volume", "what happened to volumes in the last hour"),
    ],
)
@option("--since", default="", metavar="TIME", help="Begin with those after: a time, or an age such as 10m.")
@option("--until", default="", metavar="TIME", help="End with those before.")
@filter_option("container, event, image, label, network, scope, type, volume")
@format_option
def command(app: App, since: str, until: str, filters: tuple[str, ...], output_format: str) -> None:
    """Show what happens to containers, images, volumes and networks, as it happens."""
    from orlop.cli.moments import parse_moment

    query = {
        "since": parse_moment(since, "--since"),
        "until": parse_moment(until, "--until"),
        "filters": render_filters(parse_filters(filters)),
    }
    for event in json_messages(app.api.stream("GET", "/events", query)):
        line = json.dumps(event, ensure_ascii=False) if output_format == "json" else _render(event)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _render(event: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(event["time"]).astimezone()
    nanoseconds = event.get("timeNano", 0) % 1_000_000_000
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    zone = f"{moment:%z}"
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}{zone[:3]}:{zone[3:]}"
    line = f"{text} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    return f"{line} ({attributes})" if attributes else line
