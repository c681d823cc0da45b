"""`orlop volume where`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import format_option, print_line, print_listing, warn
from orlop.client.api import quote


@declare(examples=[("orlop volume where data", "")])
@format_option
@argument("volume", metavar="VOLUME")
def command(app: App, volume: str, output_format: str) -> None:
    """List the containers, on all hosts of the cluster, that use a volume of the cluster."""
    found = app.api.get(f"/orlop/v1/volumes/{quote(volume)}/where")
    if found["Hidden"]:
        warn(f"WARNING: on this host {volume} means a volume of its own, and not this one")
    if output_format == "table":
        print_line(f"{volume}: driver {found['Driver']}, access {found['Access']}, made on node {found['Node']}")
        if not found["Uses"]:
            print_line("used nowhere")
            return
    print_listing(
        output_format,
        found["Uses"],
        ("NODE", "CONTAINER", "ID", "STATE"),
        lambda it: (it["Node"], it["Container"], it["ID"][:12], "running" if it["Running"] else "stopped"),
    )
