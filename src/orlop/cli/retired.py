"""Removed volumes that can be restored: what Docker's API has no call for."""

from collections.abc import Mapping, Sequence
from typing import Any

from orlop.cli.app import App
from orlop.cli.human import now, parse_time, render_ago, render_duration, render_size, short_id
from orlop.cli.output import print_lines, print_listing, warn
from orlop.client.api import render_filters
from orlop.client.errors import ApiError, ClientError

RETIRED = "/orlop/v1/volumes/retired"


def list_retired(app: App, filters: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
    """The latest removed first."""
    answer = app.api.get(RETIRED, {"filters": render_filters(filters)} if filters else None)
    return sorted(answer["Retired"] or [], key=lambda it: str(it["RetiredAt"]), reverse=True)


def find(retired: Sequence[dict[str, Any]], reference: str) -> dict[str, Any]:
    """By id, beginning of an id, or name (the latest of that name). Raises ClientError."""
    for matches in (
        [it for it in retired if it["ID"] == reference],
        [it for it in retired if it["Name"] == reference][:1],
        [it for it in retired if it["ID"].startswith(reference)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ClientError(f"{reference}: more than one removed volume has an id that begins so")
    raise ClientError(f"{reference}: no such removed volume. `orlop volume ls --retired` lists them")


def describe(retired: dict[str, Any]) -> str:
    facts = f"id {short_id(retired['ID'])}, size {_size(retired)}, removed {_ago(retired['RetiredAt'])}"
    return f"{retired['Name']} ({facts})"


def print_retired(app: App, quiet: bool, filters: Mapping[str, Sequence[str]], output_format: str) -> None:
    retired = list_retired(app, filters)
    if quiet:
        print_lines(it["ID"] for it in retired)
        return
    print_listing(
        output_format,
        retired,
        ("ID", "VOLUME NAME", "DRIVER", "SIZE", "REMOVED", "BY", "DATA KEPT FOR"),
        lambda it: (short_id(it["ID"]), it["Name"], it["Driver"], _size(it), _ago(it["RetiredAt"]), it["Reason"],
                    _time_left(it["PurgeAt"])),
    )  # fmt: skip


def tell_how_to_restore(app: App, names: Sequence[str]) -> None:
    """On stderr, after a removal: until when it can be undone. Silent where the daemon is not Orlop's."""
    try:
        kept = {it["Name"]: it for it in reversed(list_retired(app))}
    except ApiError:
        return
    undoable = [name for name in names if name in kept]
    if len(undoable) == 1:
        name = undoable[0]
        warn(f"{name} can be brought back {_until(kept[name]['PurgeAt'])}: orlop volume restore {name}")
    elif undoable:
        soonest = min(str(kept[name]["PurgeAt"]) for name in undoable)
        warn(f"{len(undoable)} volumes can be brought back, the first of them {_until(soonest)}: "
             "orlop volume ls --retired")  # fmt: skip


def _size(retired: Mapping[str, Any]) -> str:
    size_bytes = retired.get("SizeBytes", -1)
    return render_size(size_bytes) if size_bytes >= 0 else "unknown"


def _ago(text: str) -> str:
    return render_ago(parse_time(text), now())


def _time_left(purge_at: str) -> str:
    moment = parse_time(purge_at)
    return render_duration((moment - now()).total_seconds()) if moment else "ever"


def _until(purge_at: str) -> str:
    moment = parse_time(purge_at)
    return f"until {moment.astimezone():%Y-%m-%d %H:%M}" if moment else "at any time"
