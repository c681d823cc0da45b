"""`orlop tag`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.references import split_reference
from orlop.client.api import quote


@click.command(cls=Command, examples=[("orlop tag busybox backup/busybox:monday", "")])
@click.argument("source", metavar="IMAGE")
@click.argument("target", metavar="NAME[:TAG]")
@click.pass_obj
def command(app: App, source: str, target: str) -> None:
    """Give an image another name."""
    repository, tag = split_reference(target)
    app.api.post(f"/images/{quote(source)}/tag", {"repo": repository, "tag": tag or "latest"})
