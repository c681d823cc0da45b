"""`orlop history`."""

from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.human import from_seconds, now, render_ago, render_size, short_id
from orlop.cli.output import format_option, print_lines, print_listing
from orlop.client.api import quote


@declare(examples=[("orlop history busybox", "")])
@option("-q", "--quiet", is_flag=True, help="Only ids.")
@option("--no-trunc", is_flag=True, help="Do not shorten anything.")
@option("-H", "--human/--no-human", default=True, help="Sizes and times for people.")
@format_option
@argument("image", metavar="IMAGE")
def command(app: App, image: str, quiet: bool, no_trunc: bool, human: bool, output_format: str) -> None:
    """Show how an image was made, the last step first."""
    steps = app.api.get(f"/images/{quote(image)}/history")
    if quiet:
        print_lines(it["Id"] if no_trunc else short_id(it["Id"]) for it in steps)
        return
    moment = now()

    def row(it: dict[str, Any]) -> list[str]:
        made_by = it["CreatedBy"].replace("\t", " ")
        made = from_seconds(it["Created"])
        return [
            it["Id"] if no_trunc else short_id(it["Id"]),
            render_ago(made, moment) if human else made.isoformat(),
            made_by if no_trunc or len(made_by) <= 45 else made_by[:44] + "…",
            render_size(it["Size"]) if human else str(it["Size"]),
            it["Comment"],
        ]

    print_listing(output_format, steps, ("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"), row)
