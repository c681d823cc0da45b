"""`orlop node ls`."""

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.output import format_option, print_lines, print_listing, warn


@declare(examples=[("orlop node ls", "")])
@option("-q", "--quiet", is_flag=True, help="Only names.")
@format_option
def command(app: App, quiet: bool, output_format: str) -> None:
    """List the hosts of the cluster that share volumes. The one that answers is marked with a star."""
    answer = app.api.get("/orlop/v1/nodes")
    for text in answer["Warnings"]:
        warn(f"WARNING: {text}")
    if quiet:
        print_lines(node["Name"] for node in answer["Nodes"])
        return
    from orlop.cli.human import now, parse_time, render_ago

    print_listing(
        output_format,
        answer["Nodes"],
        ("NAME", "STATE", "JOINED", "VERSION"),
        lambda it: (
            it["Name"] + (" *" if it["Self"] else ""),
            "alive" if it["Alive"] else "not heard of",
            render_ago(parse_time(it["JoinedAt"]), now()),
            it["Version"],
        ),
    )
