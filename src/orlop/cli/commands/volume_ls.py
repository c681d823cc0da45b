"""`orlop volume ls`."""

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.output import filter_option, format_option, parse_filters, print_lines, print_listing, warn
from orlop.client.api import render_filters

SORTS = ("name", "size", "last-mount", "last-write")


@declare(
    examples=[
        ("orlop volume ls", ""),
        ("orlop volume ls --filter dangling=true -q", "the names of those that no container uses"),
        ("orlop volume ls --size --sort size", "how much each holds, who uses it, since when it is unused"),
        ("orlop volume ls --retired", "what was removed and can still be restored"),
    ],
)
@option("-q", "--quiet", is_flag=True, help="Only names (ids with --retired).")
@option("-s", "--size", "sized", is_flag=True, help="Size, limit, users, last mount, last write.")
@option("--sort", choices=SORTS, metavar="COLUMN", help=f"With --size: the order, {', '.join(SORTS)}.")
@option("--retired", is_flag=True, help="Removed volumes that `orlop volume restore` can bring back.")
@filter_option("dangling, driver, label, name")
@format_option
def command(
    app: App, quiet: bool, sized: bool, sort: str | None, retired: bool, filters: tuple[str, ...], output_format: str
) -> None:
    """List volumes.

    Sizes are as they were measured last; "~" before one says that the volume was used since then. It is measured anew
    in the background, and the next listing tells.
    """
    if retired:
        from orlop.cli.retired import print_retired

        print_retired(app, quiet, parse_filters(filters), output_format)
        return
    if sized or sort:
        from orlop.cli.volume_sizes import print_sizes

        print_sizes(app, parse_filters(filters), sort or "name", quiet, output_format)
        return
    answer = app.api.get("/volumes", {"filters": render_filters(parse_filters(filters))})
    for text in answer.get("Warnings") or ():
        warn(f"WARNING: {text}")
    volumes = sorted(answer["Volumes"] or [], key=lambda volume: str(volume["Name"]))
    if quiet:
        print_lines(volume["Name"] for volume in volumes)
    else:
        print_listing(output_format, volumes, ("DRIVER", "VOLUME NAME"), lambda it: (it["Driver"], it["Name"]))
