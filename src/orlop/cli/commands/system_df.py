"""`orlop system df`."""

import sys
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.human import render_size, short_id
from orlop.cli.output import format_option, print_json, print_line
from orlop.cli.retired import list_retired
from orlop.cli.table import render_table
from orlop.client.errors import ApiError

_ACTIVE = ("running", "paused", "restarting")


@declare(examples=[("orlop system df", ""), ("orlop system df -v", "each object")])
@option("-v", "--verbose", is_flag=True, help="Each image, container and volume.")
@format_option
def command(app: App, verbose: bool, output_format: str) -> None:
    """Show how much disk images, containers and volumes use, and how much of it nobody needs now. Removed volumes keep
    theirs until they can no longer be restored.

    With --format json: the API's answer, one JSON document.
    """
    usage = app.api.get("/system/df")
    if output_format == "json":
        print_json(usage)
        return
    images, containers, volumes = (usage.get(key) or [] for key in ("Images", "Containers", "Volumes"))
    if verbose:
        _print_each(images, containers, volumes)
        return
    rows = [
        _images(images, usage.get("LayersSize") or 0),
        _row(
            "Containers", containers, [it for it in containers if it.get("State") in _ACTIVE],
            lambda it: it.get("SizeRw") or 0,
        ),
        _row(
            "Local Volumes", volumes, [it for it in volumes if _references(it) > 0],
            lambda it: max(0, (it.get("UsageData") or {}).get("Size") or 0),
        ),
    ]  # fmt: skip
    if removed := _removed(app):
        rows.append(removed)
    sys.stdout.write(render_table(("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), rows))


def _removed(app: App) -> list[str]:
    """Removed volumes keep their room until their time has run out or they are purged."""
    try:
        retired = list_retired(app)
    except ApiError:
        return []
    if not retired:
        return []
    known = [it["SizeBytes"] for it in retired if it.get("SizeBytes", -1) >= 0]
    size = render_size(sum(known))
    shown = size if len(known) == len(retired) else f"> {size}" if known else "unknown"
    return ["Removed Volumes", str(len(retired)), "0", shown, f"{shown} (volume purge)"]


def _references(volume: dict[str, Any]) -> int:
    return int((volume.get("UsageData") or {}).get("RefCount") or 0)


def _row(name: str, items: list[Any], active: list[Any], size: Any) -> list[str]:
    total, used = sum(map(size, items)), sum(map(size, active))
    return [name, str(len(items)), str(len(active)), render_size(total), _share(total - used, total)]


def _images(images: list[Any], layers_bytes: int) -> list[str]:
    active = [it for it in images if it.get("Containers", 0) > 0]
    used = sum(it["Size"] - max(0, it.get("SharedSize", 0)) for it in active)
    free = max(0, layers_bytes - used) if active else layers_bytes
    return ["Images", str(len(images)), str(len(active)), render_size(layers_bytes), _share(free, layers_bytes)]


def _share(part: int, whole: int) -> str:
    return f"{render_size(part)} ({part * 100 // whole}%)" if whole else render_size(part)


def _print_each(images: list[Any], containers: list[Any], volumes: list[Any]) -> None:
    image_rows = [
        [
            (it.get("RepoTags") or ["<none>"])[0],
            short_id(it["Id"]),
            render_size(it["Size"]),
            str(it.get("Containers", 0)),
        ]
        for it in images
    ]
    container_rows = [
        [short_id(it["Id"]), it["Image"], render_size(it.get("SizeRw") or 0), it["Status"], it["Names"][0].lstrip("/")]
        for it in containers
    ]
    volume_rows = [
        [it["Name"], str(_references(it)), render_size(max(0, (it.get("UsageData") or {}).get("Size") or 0))]
        for it in volumes
    ]
    for title, headings, rows in (
        ("Images", ("NAME", "IMAGE ID", "SIZE", "CONTAINERS"), image_rows),
        ("Containers", ("CONTAINER ID", "IMAGE", "SIZE", "STATUS", "NAMES"), container_rows),
        ("Local Volumes", ("VOLUME NAME", "LINKS", "SIZE"), volume_rows),
    ):
        print_line(f"{title}:\n\n{render_table(headings, rows)}")
