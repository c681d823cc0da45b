"""`orlop volume ls --size`: what is known at once, and a moment's patience for what was never measured."""

import time
from collections.abc import Sequence
from typing import Any

from orlop.cli.app import App
from orlop.cli.human import now, parse_time, render_ago, render_size
from orlop.cli.output import print_lines, print_listing, warn
from orlop.cli.progress import Progress
from orlop.client.api import render_filters

VOLUMES = "/orlop/v1/volumes"
PATIENCE_SECONDS = 10.0
_STEP_SECONDS = 1


def _rank(volume: dict[str, Any], sort: str) -> float:
    """The biggest and the latest first; among equals, and by name, the order stays as it is."""
    usage = volume["Usage"]
    match sort:
        case "size":
            return -int(usage["SizeBytes"])
        case "last-mount":
            return _latest_first(usage["LastMount"])
        case "last-write":
            return _latest_first(usage["LastWrite"])
    return 0


def _latest_first(text: str) -> float:
    moment = parse_time(text)
    return -moment.timestamp() if moment else 0.0


def print_sizes(app: App, filters: dict[str, list[str]], sort: str, quiet: bool, output_format: str) -> None:
    volumes = sorted(_measured(app, filters), key=lambda it: str(it["Name"]))
    volumes.sort(key=lambda it: _rank(it, sort))
    if quiet:
        print_lines(it["Name"] for it in volumes)
        return
    print_listing(
        output_format,
        volumes,
        ("VOLUME NAME", "DRIVER", "SIZE", "LIMIT", "USERS", "LAST MOUNT", "LAST WRITE"),
        lambda it: (
            it["Name"], it["Driver"], render_known_size(it["Usage"]), _limit(it["Usage"]), _users(it["Usage"]),
            _ago(it["Usage"]["LastMount"], "never"), _ago(it["Usage"]["LastWrite"], "unknown"),
        ),
    )  # fmt: skip


def _measured(app: App, filters: dict[str, list[str]]) -> Sequence[dict[str, Any]]:
    query = {"size": True, "filters": render_filters(filters)}
    deadline = time.monotonic() + PATIENCE_SECONDS
    wait = 0
    with Progress("") as progress:
        while True:
            volumes: list[dict[str, Any]] = app.api.get(VOLUMES, {**query, "wait": wait})["Volumes"]
            waiting = sum(it["Usage"]["Measuring"] and it["Usage"]["SizeBytes"] < 0 for it in volumes)
            if not waiting or time.monotonic() > deadline:
                break
            progress.show(f"measuring {waiting} of {len(volumes)} volumes for the first time")
            wait = _STEP_SECONDS
    if waiting:
        warn(f"{waiting} volumes are still being measured: ask again later")
    return volumes


def render_known_size(usage: dict[str, Any] | None) -> str:
    """With a "~" where the volume was used since it was measured."""
    if usage is None or usage["SizeBytes"] < 0:
        return "unknown"
    return f"{'' if usage['Current'] else '~'}{render_size(usage['SizeBytes'])}"


def _limit(usage: dict[str, Any]) -> str:
    parts = [render_size(usage["LimitBytes"])] if usage["LimitBytes"] else []
    parts += [f"{usage['LimitInodes']} files"] if usage["LimitInodes"] else []
    return ", ".join(parts) or "-"


def _users(usage: dict[str, Any]) -> str:
    return ", ".join(dict.fromkeys(it["Container"] for it in usage["Users"])) or "-"


def _ago(text: str, never: str) -> str:
    moment = parse_time(text)
    return render_ago(moment, now()) if moment else never
