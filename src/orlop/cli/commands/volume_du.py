"""`orlop volume du`."""

from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.human import render_size
from orlop.cli.output import format_option, print_line, print_listing
from orlop.cli.progress import Progress
from orlop.client.api import json_messages, quote
from orlop.client.errors import ClientError

DEEPEST = 64


def _depth(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= DEEPEST:
        return int(text)
    raise ClientError(f"--depth {text!r}: use a number from 0 to {DEEPEST}", 125)


@declare(
    examples=[
        ("orlop volume du data", "what takes the room, the biggest first"),
        ("orlop volume du data var/log --depth 3", ""),
        ("orlop volume du --depth 0 data", "only the sum"),
    ],
)
@option("-d", "--depth", default="1", metavar="LEVELS", check=_depth, help="How many levels deep to list (default 1).")
@format_option
@argument("volume", metavar="VOLUME")
@argument("path", metavar="[PATH]", default="")
def command(app: App, volume: str, path: str, depth: int, output_format: str) -> None:
    """Measure a volume, or a path in it, now, and list what in it takes the room.

    SIZE is the sum of the files' lengths, ON DISK what they take on the disk: less where files have holes, more where
    many are small. A hard link counts once.
    """
    usage = _measure(app, volume, path, depth)
    whole = {"Path": ".", **{key: value for key, value in usage.items() if key not in ("Below", "Name", "Path")}}
    rows = [*usage["Below"], whole]
    print_listing(
        output_format,
        rows,
        ("ON DISK", "SIZE", "ENTRIES", "PATH"),
        lambda it: (
            render_size(it["DiskBytes"]), render_size(it["SizeBytes"]),
            str(it["Entries"]) if it["Directory"] else "-", _shown(it),
        ),
    )  # fmt: skip
    if usage["LeftOut"] and output_format == "table":
        print_line(f"({usage['LeftOut']} smaller ones are not listed)")


def _measure(app: App, volume: str, path: str, depth: int) -> dict[str, Any]:
    address = f"/orlop/v1/volumes/{quote(volume)}/usage"
    response = app.api.stream("GET", address, {"path": path, "depth": depth, "progress": True})
    with Progress("") as progress:
        for message in json_messages(response):
            if "Usage" in message:
                found: dict[str, Any] = message["Usage"]
                return found
            if "Error" in message:
                raise ClientError(message["Error"])
            so_far = message["Progress"]
            progress.show(f"{so_far['Entries']} entries, {render_size(so_far['SizeBytes'])}")
    raise ClientError(f"the daemon stopped measuring {volume} before the end")


def _shown(entry: dict[str, Any]) -> str:
    """Names come from containers: what would move the cursor is not printed as it is."""
    text = str(entry["Path"])
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"{plain}/" if entry["Directory"] and plain != "." else plain
