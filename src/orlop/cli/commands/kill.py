"""`orlop kill`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.output import each
from orlop.client.api import quote


@click.command(
    cls=Command, examples=[("orlop kill web", ""), ("orlop kill -s HUP web", "have it read its settings again")]
)
@click.option("-s", "--signal", default="KILL", metavar="SIGNAL", help="Signal, by name or number [default: KILL].")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def command(app: App, containers: tuple[str, ...], signal: str) -> int:
    """Send a signal to containers; without a name, the one that ends them at once."""
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/kill", {"signal": signal}))
