"""`orlop restart`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.output import each
from orlop.client.api import quote


@click.command(cls=Command, examples=[("orlop restart web", "")])
@click.option(
    "-t",
    "--time",
    "--timeout",
    "seconds",
    type=int,
    metavar="SECONDS",
    help="How long to wait before it is killed; -1 waits for ever [default: the container's, else 10].",
)
@click.option("-s", "--signal", default="", metavar="SIGNAL", help="The signal to send [default: the container's].")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def command(app: App, containers: tuple[str, ...], seconds: int | None, signal: str) -> int:
    """Stop containers as `orlop stop` does, and start them again."""
    query = {"t": seconds, "signal": signal or None}
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/restart", query))
