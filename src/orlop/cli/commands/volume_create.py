"""`orlop volume create`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import print_line
from orlop.cli.words import parse_pairs


@declare(
    examples=[
        ("orlop volume create data", ""),
        ("orlop volume create --label owner=web", "an anonymous one: the name is made up and printed"),
        ("orlop volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch", "in memory"),
    ],
)
@argument("name", default="", metavar="[VOLUME]")
@option("--name", "name_option", default="", hidden=True)
@option("-d", "--driver", default="", metavar="DRIVER", help="Volume driver [default: local].")
@option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option for the driver.")
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label.")
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
    print_line(app.api.post("/volumes/create", body=body)["Name"])
