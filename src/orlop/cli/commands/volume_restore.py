"""`orlop volume restore`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.client.api import quote


@click.command(
    cls=Command,
    examples=[
        ("orlop volume restore data", "the one of that name that was removed last"),
        ("orlop volume restore 3f2a9c --as data-of-monday", "by its id, under another name"),
    ],
)
@click.option("--as", "new_name", default="", metavar="NAME", help="The name to give it, where its own is taken.")
@click.argument("reference", metavar="NAME|ID")
@click.pass_obj
def command(app: App, reference: str, new_name: str) -> None:
    """Bring a removed volume back, with its data, labels and options, and print its name.

    `orlop volume ls --retired` lists what can be restored, and until when.
    """
    from orlop.cli.retired import RETIRED

    volume = app.api.post(f"{RETIRED}/{quote(reference)}/restore", body={"Name": new_name})
    click.echo(volume["Name"])
