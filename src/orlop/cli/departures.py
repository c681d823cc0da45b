"""What a removal or a prune of volumes would take: shown before it happens."""

from collections.abc import Mapping, Sequence
from typing import Any

from orlop.cli.app import App
from orlop.cli.human import now, parse_time, render_ago, render_size
from orlop.cli.table import render_table
from orlop.cli.volume_sizes import render_known_size
from orlop.client.errors import ApiError

PREVIEW = "/orlop/v1/volumes/preview"
_WAIT_SECONDS = 3  # for the size of what was never measured
_SHOWN = 50

Departures = Sequence[dict[str, Any]]


def ask_for_names(app: App, names: Sequence[str]) -> Departures | None:
    """None where the daemon is not Orlop's and has no such call."""
    return _ask(app, {"Names": list(names)})


def ask_for_prune(app: App, filters: Mapping[str, Sequence[str]], all_volumes: bool) -> Departures | None:
    wanted = {key: list(values) for key, values in filters.items() if key != "all"}
    return _ask(app, {"Prune": wanted, "All": all_volumes})


def without_stopped(found: Departures) -> Departures:
    """As it will be when all stopped containers are gone."""
    freed = {"Goes": True, "StaysBecause": ""}
    return [it | freed if _has_only_stopped_users(it) else it for it in found]


def _has_only_stopped_users(departure: dict[str, Any]) -> bool:
    users = (departure["Usage"] or {}).get("Users") or []
    is_in_use = bool(users) and departure["StaysBecause"].startswith("in use")
    return is_in_use and not any(user["Running"] for user in users)


def _ask(app: App, body: dict[str, Any]) -> Departures | None:
    try:
        found: Departures = app.api.call("POST", PREVIEW, {"wait": _WAIT_SECONDS}, body)["Volumes"]
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return found


def render_departures(found: Departures) -> str:
    """A table of what goes, and below it what stays, with the reason."""
    goes = [it for it in found if it["Goes"]]
    stays = [it for it in found if not it["Goes"]]
    text = ""
    if goes:
        headings = ("VOLUME NAME", "SIZE", "LAST WRITE", "LAST USED BY", "RESTORABLE UNTIL")
        text += render_table(headings, [_row(it) for it in goes[:_SHOWN]])
        if len(goes) > _SHOWN:
            text += f"... and {len(goes) - _SHOWN} more\n"
        text += f"{len(goes)} to remove, {_total(goes)}\n"
    if stays:
        text += "".join(f"{it['Name']} stays: {it['StaysBecause']}\n" for it in stays[:_SHOWN])
        if len(stays) > _SHOWN:
            text += f"... and {len(stays) - _SHOWN} more stay\n"
    return text


def _row(departure: dict[str, Any]) -> Sequence[str]:
    usage = departure["Usage"]
    written, until = parse_time(usage["LastWrite"]), parse_time(departure["RestorableUntil"])
    return (
        departure["Name"],
        render_known_size(usage),
        render_ago(written, now()) if written else "unknown",
        usage["LastContainer"] or "-",
        f"{until.astimezone():%Y-%m-%d %H:%M}" if until else "never",
    )


def _total(goes: Departures) -> str:
    known = [it["Usage"] for it in goes if it["Usage"]["SizeBytes"] >= 0]
    if not known:
        return "of unknown size"
    total = render_size(sum(usage["SizeBytes"] for usage in known))
    if len(known) < len(goes):
        return f"at least {total}"
    return f"{total} in all" if all(usage["Current"] for usage in known) else f"about {total}"
