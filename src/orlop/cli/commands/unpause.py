"""`orlop unpause`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.output import each
from orlop.client.api import quote


@click.command(cls=Command, examples=[("orlop unpause web", "")])
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def command(app: App, containers: tuple[str, ...]) -> int:
    """Let the processes of frozen containers go on."""
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/unpause"))
