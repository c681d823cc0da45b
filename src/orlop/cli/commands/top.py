"""`orlop top`."""

import sys

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.table import render_table
from orlop.client.api import quote


@declare(
    interspersed=False,
    examples=[("orlop top web", ""), ("orlop top web -o pid,comm,rss", "columns of ps")],
)
@argument("container", metavar="CONTAINER")
@argument("arguments", many=True, metavar="[PS OPTIONS]")
def command(app: App, container: str, arguments: tuple[str, ...]) -> None:
    """Show the processes of a container, as ps on the host sees them."""
    query = {"ps_args": " ".join(arguments) or None}
    answer = app.api.get(f"/containers/{quote(container)}/top", query)
    sys.stdout.write(render_table(answer["Titles"], answer["Processes"] or []))
