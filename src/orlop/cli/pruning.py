"""Removing what nothing uses: the calls and what they report, shared by the prune commands."""

from collections.abc import Mapping, Sequence

from orlop.cli.app import App
from orlop.cli.human import render_size, short_id
from orlop.cli.output import print_lines
from orlop.client.api import render_filters

Filters = Mapping[str, Sequence[str]]

STOPPED = ("created", "exited", "dead")


def stopped_containers(app: App) -> list[str]:
    query = {"all": True, "filters": render_filters({"status": STOPPED})}
    return [f"{short_id(it['Id'])} {it['Names'][0].lstrip('/')}" for it in app.api.get("/containers/json", query)]


def nameless_images(app: App) -> list[str]:
    query = {"filters": render_filters({"dangling": ["true"]})}
    return [short_id(it["Id"]) for it in app.api.get("/images/json", query)]


def prune_containers(app: App, filters: Filters) -> None:
    answer = app.api.post("/containers/prune", {"filters": render_filters(filters)})
    _report("Deleted containers:", answer["ContainersDeleted"], answer["SpaceReclaimed"])


def prune_images(app: App, filters: Filters, all_images: bool) -> None:
    wanted = {**filters, "dangling": ["false" if all_images else "true"]}
    answer = app.api.post("/images/prune", {"filters": render_filters(wanted)})
    lines = [f"{verb}: {name}" for it in answer["ImagesDeleted"] or [] for verb, name in it.items()]
    _report("Deleted images:", lines, answer["SpaceReclaimed"])


def prune_volumes(app: App, filters: Filters) -> None:
    answer = app.api.post("/volumes/prune", {"filters": render_filters(filters)})
    removed = answer["VolumesDeleted"] or []
    _report("Removed volumes:", removed, answer["SpaceReclaimed"])
    if removed:
        from orlop.cli.retired import tell_how_to_restore

        tell_how_to_restore(app, removed)


def _report(title: str, items: Sequence[str] | None, reclaimed_bytes: int) -> None:
    if items:
        print_lines([title, *items, ""])
    print_lines([f"Total reclaimed space: {render_size(reclaimed_bytes)}"])
