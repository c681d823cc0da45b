"""`orlop volume create`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.words import parse_pairs


@click.command(
    cls=Command,
    examples=[
        ("orlop volume create data", ""),
        ("orlop volume create --label owner=web", "an anonymous one: the name is made up and printed"),
        ("orlop volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch", "in memory"),
    ],
)
@click.argument("name", default="", metavar="[VOLUME]")
@click.option("--name", "name_option", default="", hidden=True)
@click.option("-d", "--driver", default="", metavar="DRIVER", help="Volume driver [default: local].")
@click.option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option for the driver.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label.")
@click.pass_obj
def command(
    app: App, name: str, name_option: str, driver: str, options: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    """Create a volume and print its name. A volume that is there already stays as it is."""
    body = {
        "Name": name or name_option,
        "Driver": driver or "local",
        "DriverOpts": parse_pairs(options),
        "Labels": parse_pairs(labels),
    }
    click.echo(app.api.post("/volumes/create", body=body)["Name"])
