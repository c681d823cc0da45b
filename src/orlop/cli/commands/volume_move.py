"""`orlop volume move`."""

from collections.abc import Mapping
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import format_option
from orlop.cli.words import parse_pairs
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop volume move data --driver local -o size=20g", "into a volume with a limit, on this disk"),
        ("orlop volume move db --driver san -o portal=10.0.0.5 -o target=iqn.2024-01.com.example:db", ""),
        ("orlop volume move uploads --driver cloud -o type=s3 -o bucket=uploads --dry-run", "what it would do, first"),
        ("orlop volume move db --driver juicefs -o meta=redis://10.0.0.5/1 -o name=db --stop",
         "containers that have files open on it are stopped for a moment, and started again"),
        ("orlop volume move db --to ship-2 --stop", "to another host; its containers run until the rest is copied"),
    ],
)  # fmt: skip
@option("-d", "--driver", default="", metavar="DRIVER", help="Driver of the storage that it moves to.")
@option("--to", "node", default="", metavar="NODE", help="The host of the cluster that it moves to.")
@option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option of that driver. The old ones go.")
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label, besides those that it has.")
@option(
    "--stop",
    is_flag=True,
    help="Stop containers that have files open on it for a moment, and start them again; "
    "with --to, all that use it, for good.",
)
@option(
    "--lose",
    multiple=True,
    metavar="WHAT",
    help="What may be lost where the storage cannot keep it: owners, "
    "modes, times, nanoseconds, xattrs, acls, hard-links, symlinks, special, or all.",
)
@option("--dry-run", is_flag=True, help="Only show what would be done, and who would be stopped.")
@option("-q", "--quiet", is_flag=True, help="No progress, and no notes.")
@format_option
@argument("volume", metavar="VOLUME")
def command(app: App, volume: str, **flags: Any) -> int:
    """Move a volume to other storage. It keeps its name, labels and containers; driver and options are the new ones.

    It is copied while it is in use. At the end its containers stand still for a moment: what was written last is
    copied, everything is compared, and they go on with the copy, which they do not notice. A container that has files
    open on the volume (a database, say) cannot go on so. Without --stop it is named, and nothing is done; with
    --stop it is stopped as by `docker stop`, and started again.

    With --to, a volume whose data are on this host goes to another one, with its name, labels and options. Containers
    cannot follow: without --stop those that run are named, and nothing is done; with --stop they are stopped when only
    the rest is left to be copied, and stay here so. If the move fails, they are started again.

    Interrupted at any moment, the volume is what it was. What it was before the move is kept for a while, as a removed
    volume is: `orlop volume ls --retired`.
    """
    if flags["node"]:
        return _send(app, volume, flags)
    if not flags["driver"]:
        raise ClientError("say where to: --driver NAME, or --to NODE", 125)
    body = {
        "Driver": flags["driver"],
        "DriverOpts": parse_pairs(flags["options"]),
        "Labels": parse_pairs(flags["labels"]),
        "Stop": flags["stop"],
        "Lose": [word for words in flags["lose"] for word in words.split(",")],
        "DryRun": flags["dry_run"],
    }
    return _move(app, volume, body, flags)


def _move(app: App, volume: str, body: Mapping[str, Any], flags: Mapping[str, Any]) -> int:
    from orlop.cli.volume_moving import read_move, read_preview, tell_move, tell_preview

    if body["DryRun"]:
        tell_preview(read_preview(app, volume, body), flags["output_format"])
        return 0
    return tell_move(read_move(app, volume, body, flags["quiet"]), flags["output_format"], flags["quiet"])


def _send(app: App, volume: str, flags: Mapping[str, Any]) -> int:
    from orlop.cli.volume_sending import send

    if given := [word for word in ("driver", "options", "labels", "lose", "dry_run") if flags[word]]:
        words = ", ".join("--opt" if word == "options" else f"--{word.replace('_', '-')}" for word in given)
        raise ClientError(f"a volume goes to another host as it is: --to and {words} do not go together", 125)
    send(app, volume, flags["node"], flags["stop"], flags["output_format"], flags["quiet"])
    return 0
