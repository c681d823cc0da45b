"""`orlop create`."""

from typing import Any

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.container_options import container_options


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[
        ("orlop create --name db -v data:/var/lib/db debian db-server", ""),
        ("orlop start db", "and there it runs"),
    ],
    statuses=[("0", "done"), ("125", "the container could not be created")],
)
@container_options
@click.argument("image", metavar="IMAGE")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG...]]")
@click.pass_obj
def command(app: App, /, image: str, arguments: tuple[str, ...], **flags: Any) -> None:
    """Create a container without starting it, and print its id. Its volumes are made, and filled from the image."""
    from orlop.cli.container_request import render_request
    from orlop.cli.creation import create_container

    click.echo(create_container(app, flags, render_request(flags, image, arguments)))
