"""`orlop wait`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.output import each
from orlop.client.api import quote


@click.command(cls=Command, examples=[("orlop wait job", "")])
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def command(app: App, containers: tuple[str, ...]) -> int:
    """Wait until containers have exited, and print their exit codes, one a line."""
    return each(containers, lambda name: str(app.api.post(f"/containers/{quote(name)}/wait")["StatusCode"]))
