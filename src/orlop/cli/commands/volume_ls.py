"""`orlop volume ls`."""

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.output import filter_option, format_option, parse_filters, print_lines, print_listing
from orlop.client.api import render_filters


@declare(
    examples=[
        ("orlop volume ls", ""),
        ("orlop volume ls --filter dangling=true -q", "the names of those that no container uses"),
        ("orlop volume ls --retired", "what was removed and can still be restored"),
    ],
)
@option("-q", "--quiet", is_flag=True, help="Only names (ids with --retired).")
@option("--retired", is_flag=True, help="Removed volumes that `orlop volume restore` can bring back.")
@filter_option("dangling, driver, label, name")
@format_option
def command(app: App, quiet: bool, retired: bool, filters: tuple[str, ...], output_format: str) -> None:
    """List volumes."""
    if retired:
        from orlop.cli.retired import print_retired

        print_retired(app, quiet, parse_filters(filters), output_format)
        return
    answer = app.api.get("/volumes", {"filters": render_filters(parse_filters(filters))})
    volumes = sorted(answer["Volumes"] or [], key=lambda volume: str(volume["Name"]))
    if quiet:
        print_lines(volume["Name"] for volume in volumes)
    else:
        print_listing(output_format, volumes, ("DRIVER", "VOLUME NAME"), lambda it: (it["Driver"], it["Name"]))
