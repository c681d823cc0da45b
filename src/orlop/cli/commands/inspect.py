"""`orlop inspect`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.inspection import PATHS, inspect_all, template_option


@click.command(
    cls=Command,
    examples=[
        ("orlop inspect web", "the container of that name, else the image, volume or network"),
        ("orlop inspect --type volume data", ""),
        ("orlop inspect -f '{{.State.Status}}' web", "one value"),
    ],
)
@template_option
@click.option("-s", "--size", is_flag=True, help="With the sizes of a container's file system.")
@click.option("--type", "kind", type=click.Choice(list(PATHS)), help="Look only among these.")
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...")
@click.pass_obj
def command(app: App, names: tuple[str, ...], template: str, size: bool, kind: str | None) -> int:
    """Print everything about containers, images, volumes or networks, as a JSON array."""
    return inspect_all(app, names, (kind,) if kind else tuple(PATHS), template, size)
