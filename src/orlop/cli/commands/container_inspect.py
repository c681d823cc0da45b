"""`orlop container inspect`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.inspection import inspect_all, template_option


@click.command(cls=Command, examples=[("orlop container inspect NAME", "")])
@template_option
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def command(app: App, names: tuple[str, ...], template: str) -> int:
    """Print everything about containers, as a JSON array."""
    return inspect_all(app, names, ("container",), template)
