"""`orlop rename`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.client.api import quote


@click.command(cls=Command, examples=[("orlop rename web web-old", "")])
@click.argument("container", metavar="CONTAINER")
@click.argument("new_name", metavar="NEW_NAME")
@click.pass_obj
def command(app: App, container: str, new_name: str) -> None:
    """Give a container another name."""
    app.api.post(f"/containers/{quote(container)}/rename", {"name": new_name})
