"""`orlop volume prune`."""

import sys
from typing import Any

from orlop.cli.app import App
from orlop.cli.asking import confirm, force_option
from orlop.cli.declaring import declare, option
from orlop.cli.departures import ask_for_prune, render_departures
from orlop.cli.output import filter_option, parse_filters, print_lines
from orlop.cli.pruning import prune_volumes
from orlop.client.api import render_filters
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop volume prune", "anonymous volumes that no container uses"),
        ("orlop volume prune --all --dry-run", "what would go, and what would stay and why"),
        ("orlop volume prune --all --filter label=stage=test --force", ""),
    ],
)
@option("-a", "--all", "all_volumes", is_flag=True, help="Named volumes too, not only anonymous ones.")
@filter_option("label, label!", short=False)
@force_option
@option("--dry-run", is_flag=True, help="Only show what would go.")
def command(app: App, all_volumes: bool, filters: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Remove the volumes that no container uses. Like all removed volumes they can be restored for a while.

    What goes is shown before the question, with its size, its last write and who used it last; what stays, with the
    reason.
    """
    wanted = parse_filters(filters)
    previewed = None if force and not dry_run else ask_for_prune(app, wanted, all_volumes)
    if dry_run:
        if previewed is None:
            raise ClientError("this daemon cannot tell what a prune would take")
        sys.stdout.write(render_departures(previewed) or "There is nothing to remove.\n")
        return
    if app.api.supports(1, 42):
        if all_volumes:
            wanted["all"] = ["true"]
    elif not all_volumes:
        raise ClientError(
            "this daemon cannot tell anonymous volumes from named ones: use --all, or remove them by name"
        )
    if previewed is not None:
        sys.stderr.write(render_departures(previewed))
        if not any(it["Goes"] for it in previewed):
            print_lines(["Total reclaimed space: 0B"])
            return
        confirm("This will remove the volumes in the table", [], force)
        prune_volumes(app, wanted)
        return
    doomed = [] if force else _candidates(app, all_volumes)
    narrowed = " (those of them that the filter lets through)" if filters else ""
    kind = "volumes" if all_volumes else "anonymous volumes"
    confirm(f"This will remove all {kind} that no container uses{narrowed}", doomed, force)
    prune_volumes(app, wanted)


def _candidates(app: App, all_volumes: bool) -> list[str]:
    answer = app.api.get("/volumes", {"filters": render_filters({"dangling": ["true"]})})
    return sorted(it["Name"] for it in answer["Volumes"] or [] if all_volumes or _is_anonymous(it))


def _is_anonymous(volume: dict[str, Any]) -> bool:
    return "com.docker.volume.anonymous" in (volume.get("Labels") or {})
