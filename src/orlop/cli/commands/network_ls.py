"""`orlop network ls`."""

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.human import short_id
from orlop.cli.output import filter_option, format_option, parse_filters, print_lines, print_listing
from orlop.client.api import render_filters


@declare(examples=[("orlop network ls", "")])
@option("-q", "--quiet", is_flag=True, help="Only ids.")
@option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@filter_option("driver, id, name, scope, type")
@format_option
def command(app: App, quiet: bool, no_trunc: bool, filters: tuple[str, ...], output_format: str) -> None:
    """List networks."""
    networks = app.api.get("/networks", {"filters": render_filters(parse_filters(filters))})
    networks.sort(key=lambda it: it["Name"])
    if quiet:
        print_lines(it["Id"] if no_trunc else short_id(it["Id"]) for it in networks)
        return
    print_listing(
        output_format,
        networks,
        ("NETWORK ID", "NAME", "DRIVER", "SCOPE"),
        lambda it: (it["Id"] if no_trunc else short_id(it["Id"]), it["Name"], it["Driver"], it["Scope"]),
    )
