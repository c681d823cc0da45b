"""`orlop volume rm`."""

import os
import sys

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each, warn
from orlop.client.api import quote
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop volume rm data", ""),
        ("orlop volume rm --dry-run data cache", "what would go, and what would stay and why"),
        ("orlop volume rm data && orlop volume restore data", "think again"),
    ],
)
@option("-f", "--force", is_flag=True, help="A volume that does not exist is no failure.")
@option("-q", "--quiet", is_flag=True, help="Do not say what goes, nor how to bring it back.")
@option("--dry-run", is_flag=True, help="Only show what would go.")
@argument("names", many=True, required=True, metavar="VOLUME...")
def command(app: App, names: tuple[str, ...], force: bool, quiet: bool, dry_run: bool) -> int:
    """Remove volumes. Their data is put aside, not destroyed: until its time has run out, `orlop volume restore`
    brings it back.

    A volume that a container uses, running or not, is refused, and so is one with the label orlop.protect=true. On a
    terminal, what goes is shown first: its size, its last write, who used it last.
    """
    if dry_run:
        return _show(app, names, force)
    stays = _tell(app, names) if not quiet and os.isatty(2) else {}
    removed: list[str] = []

    def remove(name: str) -> None:
        app.api.delete(f"/volumes/{quote(name)}", {"force": force})
        removed.append(name)

    status = each(names, remove)
    for name in [name for name in removed if name in stays]:  # an alias
        warn(f"{name}: {stays[name]}")
        removed.remove(name)
    if removed and not quiet:
        from orlop.cli.retired import tell_how_to_restore

        tell_how_to_restore(app, removed)
    return status


def _show(app: App, names: tuple[str, ...], force: bool) -> int:
    """With the exit status that the removal would have."""
    from orlop.cli.departures import ask_for_names, render_departures

    found = ask_for_names(app, names)
    if found is None:
        raise ClientError("this daemon cannot tell what a removal would take")
    sys.stdout.write(render_departures(found))
    return int(any(not it["Goes"] and not (force and it["Usage"] is None) for it in found))


def _tell(app: App, names: tuple[str, ...]) -> dict[str, str]:
    """Returns what stays, and why."""
    from orlop.cli.departures import ask_for_names, render_departures

    try:
        found = ask_for_names(app, names)
    except ClientError as error:  # no reason not to do what was asked for
        warn(f"what goes cannot be shown: {error.message}")
        return {}
    if goes := [it for it in found or () if it["Goes"]]:
        sys.stderr.write(render_departures(goes))
    return {it["Name"]: it["StaysBecause"] for it in found or () if not it["Goes"]}
