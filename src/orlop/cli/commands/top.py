"""`orlop top`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.table import render_table
from orlop.client.api import quote


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[("orlop top web", ""), ("orlop top web -o pid,comm,rss", "columns of ps")],
)
@click.argument("container", metavar="CONTAINER")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PS OPTIONS]")
@click.pass_obj
def command(app: App, container: str, arguments: tuple[str, ...]) -> None:
    """Show the processes of a container, as ps on the host sees them."""
    query = {"ps_args": " ".join(arguments) or None}
    answer = app.api.get(f"/containers/{quote(container)}/top", query)
    click.echo(render_table(answer["Titles"], answer["Processes"] or []), nl=False)
